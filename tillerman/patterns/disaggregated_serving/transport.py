"""How prefill and decode reach each other's memory: RDMA resources, UCX settings, capabilities, policies."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.model import EnvVar, Pod, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.placement import requests_of
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.disaggregated_serving.roles import Pair, younger

#: Resources that give a pod an RDMA device. Sources: RDMA shared device plugin, SR-IOV operator, EFA, GKE.
_RDMA = re.compile(r"(?i)rdma|/ib$|/hca|roce|infiniband|/efa$|mlnx|hostdev")
#: UCX transports that reach another node's memory without copies through TCP. Source: UCX documentation.
_VERBS = re.compile(r"(?:^|,)\^?(?:all|ib|rc\w*|dc\w*|ud\w*|srd)(?=,|$)")
SIDE_HOST = "VLLM_NIXL_SIDE_CHANNEL_HOST"
SIDE_PORT = "VLLM_NIXL_SIDE_CHANNEL_PORT"
#: Port of the NIXL side channel, where no variable says. Source: vLLM 0.32.
DEFAULT_SIDE_PORT = 5600
_POD_IP = {"fieldRef": {"fieldPath": "status.podIP"}}


@dataclass(frozen=True, kw_only=True)
class Lack:
    """What one role lacks: the object a person would change, in a clause, where it shows, and the change."""

    subject: Ref
    said: str
    seen: tuple[tuple[Ref, str, str], ...]
    change: Change | None = None


def lacks_of(cluster: Snapshot, pair: Pair) -> tuple[Lack, ...]:
    """What one role lacks or what keeps them apart, the weightiest first; nothing when they are alike."""
    checks: tuple[Callable[[Snapshot, Pair], Lack | None], ...] = (
        _without_rdma,
        _without_lock,
        _without_pod_ip,
        _other_transport,
        _kept_out,
    )
    return tuple(lack for check in checks if (lack := check(cluster, pair)))


def _rdma(server: Server) -> dict[str, float]:
    return {
        name: value for name, value in requests_of(server.pod.spec).items() if _RDMA.search(name) and value
    }


def _halves(pair: Pair) -> Iterator[tuple[Server, Server]]:
    """A server of each role, and the same the other way round."""
    yield pair.prefill[0], pair.decode[0]
    yield pair.decode[0], pair.prefill[0]


def _without_rdma(cluster: Snapshot, pair: Pair) -> Lack | None:
    """One role has an RDMA device and the other has none."""
    for lacking, having in _halves(pair):
        devices = _rdma(having)
        if devices and not _rdma(lacking):
            name, count = next(iter(devices.items()))
            after = {f'limits["{name}"]': f"{count:g}", f'requests["{name}"]': f"{count:g}"}
            why = f"the other role transfers through `{name}`; both ends need the device"
            change = cluster.edit_each(lacking.pod, lacking.container.name, "resources", after, why)
            return Lack(
                subject=cluster.owner_of(lacking.pod),
                said=f"`{lacking.pod.name}` has no RDMA device, the other role has `{name}`",
                seen=(_resources(having, name), _resources(lacking, "no RDMA resource")),
                change=change,
            )
    return None


def _resources(server: Server, said: str) -> tuple[Ref, str, str]:
    return server.pod.ref, f"spec.containers[{server.container.name}].resources", said


def _locks(server: Server) -> bool:
    context = server.container.security_context or {}
    added = (context.get("capabilities") or {}).get("add") or ()
    return bool(context.get("privileged")) or any(c in ("IPC_LOCK", "CAP_IPC_LOCK", "ALL") for c in added)


def _without_lock(cluster: Snapshot, pair: Pair) -> Lack | None:
    """One role may lock memory for RDMA and the other may not."""
    for lacking, having in _halves(pair):
        if _rdma(having) and _locks(having) and not _locks(lacking):
            context = lacking.container.security_context or {}
            added = [*((context.get("capabilities") or {}).get("add") or ()), "IPC_LOCK"]
            name, field = lacking.container.name, "securityContext.capabilities.add"
            why = "RDMA locks the memory it registers; the other role may"
            return Lack(
                subject=cluster.owner_of(lacking.pod),
                said=f"`{lacking.pod.name}` lacks the capability IPC_LOCK that the other role has",
                seen=((lacking.pod.ref, f"spec.containers[{name}].{field}", "no IPC_LOCK"),),
                change=cluster.edit(lacking.pod, name, field, added, why),
            )
    return None


def _variable(server: Server, name: str) -> EnvVar | None:
    return next((v for v in server.container.env if v.name == name), None)


def _is_pod_ip(server: Server) -> bool:
    found = _variable(server, SIDE_HOST)
    field = ((found.value_from or {}).get("fieldRef") or {}) if found else {}
    return field.get("fieldPath") == "status.podIP" or bool(found and found.value.startswith("$("))


def _without_pod_ip(cluster: Snapshot, pair: Pair) -> Lack | None:
    """One role announces an address at which the other cannot ask for its memory."""
    for lacking, having in _halves(pair):
        found = _variable(lacking, SIDE_HOST)
        scripted = any(SIDE_HOST in word for word in (*lacking.container.command, *lacking.container.args))
        if not _is_pod_ip(lacking) and _is_pod_ip(having) and not scripted:
            value = found.value if found else "not set (localhost)"
            why = "the other role asks at this address, which has to be the pod's own"
            return Lack(
                subject=cluster.owner_of(lacking.pod),
                said=f"`{lacking.pod.name}` announces {SIDE_HOST} {value}, the other role its pod IP",
                seen=(
                    (lacking.pod.ref, f"spec.containers[{lacking.container.name}].env[{SIDE_HOST}]", value),
                ),
                change=with_variable(cluster, lacking, {"name": SIDE_HOST, "valueFrom": _POD_IP}, why),
            )
    return None


def _other_transport(cluster: Snapshot, pair: Pair) -> Lack | None:
    """UCX is told different things: the role without RDMA transports, else the younger, is wrong."""
    for name in ("UCX_TLS", "UCX_NET_DEVICES"):
        wrong, right = younger(cluster, pair)
        had, other = wrong.env.get(name), right.env.get(name)
        if had == other or (name == "UCX_TLS" and _verbs(had) and _verbs(other)):
            continue
        if had is None or (not _verbs(other) and _verbs(had)):
            wrong, right, had, other = right, wrong, other, had
        why = f"the other role has {name} {other or 'not set'}"
        entry = {"name": name} if other is None else {"name": name, "value": other}
        there = f"`{other}`" if other else "sets none"
        return Lack(
            subject=cluster.owner_of(wrong.pod),
            said=f"`{wrong.pod.name}` has {name} `{had}`, the other role {there}",
            seen=((wrong.pod.ref, f"spec.containers[{wrong.container.name}].env[{name}]", str(had)),),
            change=with_variable(cluster, wrong, entry, why),
        )
    return None


def _verbs(setting: str | None) -> bool:
    """Whether UCX may use RDMA by a setting: not where it names only TCP or Ethernet devices."""
    if setting is None or "mlx" in setting:
        return True
    return _VERBS.search(setting) is not None


def with_variable(cluster: Snapshot, server: Server, entry: dict[str, Any], why: str) -> Change | None:
    """The change that sets a variable in the owner's list; an entry of a name alone takes it out."""
    place = cluster.place_of(server.pod, server.container.name)
    if place is None:
        return None
    if not place.exists:
        return (
            cluster.edit(server.pod, server.container.name, "env", [entry], why) if len(entry) > 1 else None
        )
    path = f"{place.container}.env"
    listed = place.target.items(path)
    kept = [item for item in listed if not (isinstance(item, dict) and item.get("name") == entry["name"])]
    at = next(
        (i for i, e in enumerate(listed) if isinstance(e, dict) and e.get("name") == entry["name"]), None
    )
    if at is not None and set(entry) == set(listed[at]) == {"name", "value"}:
        edit = Edit(path=f"{path}[{at}].value", before=listed[at]["value"], after=entry["value"])
    elif len(entry) > 1:
        edit = Edit(path=path, before=place.target.value(path), after=[*kept, entry])
    elif at is not None:
        edit = Edit(path=path, before=listed, after=kept or ABSENT)
    else:
        return None
    return Change(target=place.target.ref, edits=(edit,), why=why)


def _kept_out(cluster: Snapshot, pair: Pair) -> Lack | None:
    """A network policy at the prefill servers that does not let decode servers reach the side channel."""
    prefill, decode = pair.prefill[0], pair.decode[0]
    given = prefill.env.get(SIDE_PORT, "")
    port = int(given) if given.isdigit() else DEFAULT_SIDE_PORT
    policies = [p for p in cluster.all("NetworkPolicy", prefill.pod.namespace) if _selects(p, prefill.pod)]
    rules = [rule for policy in policies for rule in policy.items("spec.ingress")]
    if not policies or any(_lets(cluster, rule, decode.pod, port) for rule in rules):
        return None
    policy = policies[0]
    labels = {
        k: v for k, v in decode.pod.labels.items() if k in ("app", "llm-d.ai/role", "app.kubernetes.io/name")
    }
    source: dict[str, Any] = {"podSelector": {"matchLabels": labels or dict(decode.pod.labels)}}
    after = [*policy.items("spec.ingress"), {"from": [source], "ports": [{"protocol": "TCP", "port": port}]}]
    edit = Edit(path="spec.ingress", before=policy.value("spec.ingress"), after=after)
    why = "decode servers ask prefill servers for the addresses of their KV cache here"
    return Lack(
        subject=policy.ref,
        said=f"the NetworkPolicy `{policy.name}` keeps decode servers from the side channel at port {port}",
        seen=((policy.ref, "spec.ingress", f"no rule for {decode.pod.name} at {port}"),),
        change=Change(target=policy.ref, edits=(edit,), why=why),
    )


def _selects(policy: Object, pod: Pod) -> bool:
    """Whether a policy restricts what comes in to a pod."""
    kinds = policy.items("spec.policyTypes") or ["Ingress"]
    return "Ingress" in kinds and _matches(policy.table("spec.podSelector"), pod.labels)


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for one in selector.get("matchExpressions") or ():
        value, values = labels.get(str(one.get("key"))), one.get("values") or ()
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds.get(str(one.get("operator")), True):
            return False
    return True


def _lets(cluster: Snapshot, rule: Any, pod: Pod, port: int) -> bool:
    """Whether a rule lets a pod of the same namespace in at a port; what it cannot judge counts as yes."""
    if not isinstance(rule, dict):
        return True
    peers, ports = rule.get("from") or (), rule.get("ports") or ()
    named = any(isinstance(p.get("port"), str) for p in ports)
    open_port = (
        not ports
        or named
        or any(
            p.get("port") is None or int(p["port"]) <= port <= int(p.get("endPort", p["port"])) for p in ports
        )
    )
    return open_port and (not peers or any(_is_peer(cluster, peer, pod) for peer in peers))


def _is_peer(cluster: Snapshot, peer: dict[str, Any], pod: Pod) -> bool:
    if "ipBlock" in peer:
        return True
    spaces = peer.get("namespaceSelector")
    if spaces is not None:
        space = cluster.get("Namespace", "", pod.namespace)
        labels = {"kubernetes.io/metadata.name": pod.namespace, **(space.labels if space else {})}
        if not _matches(spaces, labels):
            return False
    return _matches(peer.get("podSelector") or {}, pod.labels)
