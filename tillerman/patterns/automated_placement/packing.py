"""Moving small pods together, so that a large one gets a node: what it frees, and the change for it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.placement import gpus_of
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.automated_placement.waiting import Wait

HOST = "kubernetes.io/hostname"
#: Pods of these run once: their template cannot change, and they are not placed anew.
_ONCE = ("Job", "CronJob")


class Rules(NamedTuple):
    """Where an owner says how its pods lie to each other: object, path of its pod spec, and the rules."""

    target: Object
    path: str
    spread: list[Any]
    affinity: dict[str, Any]


def smaller_pods(cluster: Snapshot, wait: Wait) -> dict[Ref, tuple[Pod, ...]]:
    """The pods on the nodes of a wait that ask for fewer of the same GPUs, by owner."""
    found: dict[Ref, tuple[Pod, ...]] = {}
    for node in wait.nodes:
        for pod in cluster.pods_on(node.name):
            if not pod.finished and 0 < gpus_of(pod.spec).get(wait.resource, 0) < wait.count:
                owner = cluster.owner_of(pod)
                found[owner] = (*found.get(owner, ()), pod)
    return found


def makes_room(wait: Wait, free: Mapping[str, int], moved: tuple[Pod, ...]) -> bool:
    """Whether placing these pods anew, each on the fullest node that takes it, leaves one with enough."""
    room = dict(free)
    sizes = sorted(((gpus_of(pod.spec)[wait.resource], pod.spec.node_name) for pod in moved), reverse=True)
    for size, node in sizes:
        room[node] += size
    for size, _ in sizes:
        taken = min((node for node in room if room[node] >= size), key=lambda node: (room[node], node))
        room[taken] -= size
    return max(room.values()) >= wait.count


def packs(cluster: Snapshot, pod: Pod) -> bool:
    """Whether an owner's rules draw its pods together rather than apart."""
    rules = _rules(cluster, pod)
    drawn = rules is not None and "podAffinity" in rules.affinity and "podAntiAffinity" not in rules.affinity
    return drawn and rules is not None and not rules.spread


def reluctance(cluster: Snapshot, pods: tuple[Pod, ...]) -> tuple[int, int, int]:
    """What to move last: pods that no rule spreads, large ones, owners of few."""
    rules = _rules(cluster, pods[0])
    spread = rules.spread if rules else []
    hard = any(rule.get("whenUnsatisfiable") == "DoNotSchedule" for rule in spread)
    return (0 if hard else 1 if spread else 2, sum(gpus_of(pods[0].spec).values()), -len(pods))


def pack(cluster: Snapshot, pod: Pod, why: str) -> Change | None:
    """The change that draws an owner's pods to nodes where others of them are."""
    rules, workload = _rules(cluster, pod), cluster.workload_of(pod)
    labels = workload.table("spec.selector.matchLabels") if workload else {}
    if rules is None or not labels:
        return None
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": HOST}
    together = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    kept = {key: value for key, value in rules.affinity.items() if key == "nodeAffinity"}
    field = f"{rules.path}.affinity"
    before = rules.target.value(field)
    edits = [Edit(path=field, before=before, after={**kept, "podAffinity": together})]
    if rules.spread:
        path = f"{rules.path}.topologySpreadConstraints"
        edits.insert(0, Edit(path=path, before=rules.spread, after=ABSENT))
    return Change(target=rules.target.ref, edits=tuple(edits), why=why)


def _rules(cluster: Snapshot, pod: Pod) -> Rules | None:
    place = cluster.place_of(pod, pod.spec.containers[0].name)
    if place is None or place.target.kind in _ONCE:
        return None
    spread = place.target.items(f"{place.pod}.topologySpreadConstraints")
    return Rules(place.target, place.pod, spread, place.target.table(f"{place.pod}.affinity"))
