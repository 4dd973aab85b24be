"""Enough GPUs are free, but scattered over nodes: a pod that needs several on one node waits.

What happens
A pod gets all its GPUs on one node. Small pods that are spread evenly, by a constraint or by the scheduler's
own scoring, leave a remainder on every node; the remainders add up to more than the waiting pod asks for,
and no single one is large enough.

How it shows
`Insufficient nvidia.com/gpu` for a pod of several GPUs, while allocatable minus requested, summed over the
nodes it may use, is at least what it asks for.

When we stay silent
Some node has enough free (then something else is short); the nodes together have too few; an older pod of
the same rollout, or one being deleted, holds them; an autoscaler is adding a node; the pod asks for one GPU.

What we propose
Fewer GPUs where the server asks for more than its parallelism uses, or where its weights by their name need
fewer; else packing in the place of spreading, on the small pods whose moving makes room.

Sources
volcano-sh/volcano#3948, kai-scheduler/KAI-Scheduler#109, NVIDIA/k8s-device-plugin#147; kube-scheduler 1.37
NodeResourcesFit scoring (least allocated) and PodTopologySpread defaults.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.automated_placement.asking import fewer_gpus, idle_gpus, narrower
from tillerman.patterns.automated_placement.packing import makes_room, pack, packs, reluctance, smaller_pods
from tillerman.patterns.automated_placement.waiting import Wait, waits_for
from tillerman.patterns.fault import Evidence, Fault, Layer, outage, seen_event, seen_object


@dataclass(frozen=True, kw_only=True)
class FragmentedGpus(Fault):
    """A wait for several GPUs of one node; what is free on each; the smaller pods there, by owner."""

    layer = Layer.PLACEMENT

    wait: Wait
    free: Mapping[str, int]
    small: Mapping[Ref, tuple[Pod, ...]]

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose Pending pods would fit if the free GPUs were on one node."""
        for wait in waits_for(cluster, "fragmented"):
            free = {node.name: int(cluster.free_on(node, wait.resource)) for node in wait.nodes}
            small = smaller_pods(cluster, wait)
            anew = [p for owner, p in small.items() if owner.key in cluster.whatif and packs(cluster, p[0])]
            if not any(makes_room(wait, free, pods) for pods in anew):
                yield cls(
                    subject=wait.owner,
                    severity=outage(cluster, wait.owner),
                    evidence=_evidence(cluster, wait, free),
                    hurts=(wait.owner, *(pod.ref for pod in wait.pods)),
                    wait=wait,
                    free=free,
                    small=small,
                )

    def summary(self) -> str:
        """What is asked for, what is free, and where."""
        wait, left = self.wait, sorted(self.free.values(), reverse=True)
        asks = f"{counted(len(wait.pods), 'Pending pod')}, each asking for {wait.count} `{wait.resource}`"
        where = ", ".join(map(str, left[:8]))
        return f"{asks} of one node: {sum(left)} are free but scattered over nodes ({where})"

    def explain(self) -> list[str]:
        """From the remainders to the wait."""
        held = sum(len(pods) for pods in self.small.values())
        return [
            f"{counted(held, 'smaller pod')} run on the {counted(len(self.free), 'node')} it may use",
            f"the most that any single node has free is {max(self.free.values())}",
            "GPUs of several nodes do not add up for one pod, so it waits while they are idle",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """Fewer GPUs for the pod that waits, or packing for the small ones in its way."""
        idle = idle_gpus(cluster, self.wait.pod)
        if idle and self.wait.count - idle <= max(self.free.values()):
            return fewer_gpus(cluster, self.wait.pod, idle, "its parallelism does not use them")
        if less := narrower(cluster, self.wait.pod, self.wait.nodes, max(self.free.values())):
            return less
        why = f"packed on the fullest nodes, these pods leave {self.wait.count} GPUs free on one"
        for pods in sorted(self.small.values(), key=lambda pods: reluctance(cluster, pods)):
            change = pack(cluster, pods[0], why) if makes_room(self.wait, self.free, pods) else None
            if change:
                return [change]
        return []

    def advice(self) -> list[str]:
        """What keeps GPUs together."""
        owners = ", ".join(str(owner) for owner in list(self.small)[:3])
        return [
            f"with packing in place, restart the small pods ({owners}) so that they are placed anew",
            "score GPUs with `NodeResourcesFit` MostAllocated, or use a scheduler or queue that packs",
            "a multi-node server (LeaderWorkerSet) or less tensor parallelism takes smaller remainders",
        ]


def _evidence(cluster: Snapshot, wait: Wait, free: Mapping[str, int]) -> tuple[Evidence, ...]:
    said = cluster.scheduling_message(wait.pod) or "Unschedulable"
    found = [seen_object(wait.pod.ref, "status.conditions[PodScheduled].message", said)]
    for node in wait.nodes[:6]:
        have = cluster.allocatable_gpus(node).get(wait.resource, 0)
        use = f"{wait.resource}: {have}, {free[node.name]} free"
        found.append(seen_object(node.ref, "status.allocatable", use))
    refused = cluster.events_about(wait.pod.ref, "NotTriggerScaleUp")
    return (*found, *(seen_event(wait.pod.ref, event) for event in refused[-1:]))
