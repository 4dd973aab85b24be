"""Why the status of a route, pool or gateway refuses a reference, computed from what it refers to."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.model import Condition
from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.token_aware_routing.pools import POOL_GROUP, backends, is_picker

#: Two names that are one with a slip of the pen.
_ALIKE = 0.6
_BY_NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A reference that cannot work: what is wrong in a clause, and the change where one repairs it."""

    said: str
    change: Change | None = None
    advice: str = ""


def parents_of(item: Object) -> Iterator[Condition]:
    """The conditions that parents wrote on a route or pool; not those of a route's former parents."""
    named = {str(ref.get("name", "")) for ref in item.items("spec.parentRefs")}
    for parent in (*item.items("status.parents"), *item.items("status.parent")):
        name = str((parent.get("parentRef") or {}).get("name", ""))
        if not named or name in named:
            yield from Object(
                {"status": {"conditions": parent.get("conditions") or []}}, item.metadata
            ).conditions


def wrong_backend(cluster: Snapshot, route: Object, reason: str) -> Refused | None:
    """A backend that does not exist, is of an older group, or lies in a namespace that forbids it."""
    for path, ref in backends(route):
        kind, name = str(ref.get("kind", "Service")), str(ref.get("name", ""))
        space = str(ref.get("namespace", route.namespace))
        if not cluster.sees(kind):
            continue
        if kind == "InferencePool" and ref.get("group") != POOL_GROUP and _is_current(cluster, space, name):
            said = f"`{path}` names the InferencePool `{name}` in group `{ref.get('group', '')}`"
            return Refused(
                said=said, change=_edit(route, f"{path}.group", POOL_GROUP, f"pools are in {POOL_GROUP}")
            )
        if cluster.get(kind, space, name) is None:
            right = alike(name, (item.name for item in cluster.all(kind, space)))
            change = _edit(route, f"{path}.name", right, f"{kind} `{right}` exists, `{name}` does not")
            return Refused(
                said=f"{kind} `{name}` does not exist in `{space}`", change=change if right else None
            )
        if space != route.namespace and not _granted(cluster, route, kind, space, reason):
            return _not_granted(cluster, route, kind, space)
    return None


def wrong_parent(cluster: Snapshot, route: Object) -> Refused | None:
    """A gateway that does not exist, has no such listener, or does not admit routes of this namespace."""
    for at, ref in enumerate(route.items("spec.parentRefs")):
        if ref.get("kind", "Gateway") != "Gateway" or not cluster.sees("Gateway"):
            continue
        space, name = str(ref.get("namespace", route.namespace)), str(ref.get("name", ""))
        gateway = cluster.get("Gateway", space, name)
        path = f"spec.parentRefs[{at}]"
        if gateway is None:
            right = alike(name, (item.name for item in cluster.all("Gateway", space)))
            change = _edit(route, f"{path}.name", right, f"Gateway `{right}` exists, `{name}` does not")
            return Refused(
                said=f"Gateway `{name}` does not exist in `{space}`", change=change if right else None
            )
        if found := _wrong_listener(route, gateway, path, ref) or _not_admitted(route, gateway, ref):
            return found
    return None


def wrong_picker(cluster: Snapshot, pool: Object) -> Refused | None:
    """A Service of the endpoint picker that does not exist."""
    name = pool.text("spec.endpointPickerRef.name")
    if not name or not cluster.sees("Service") or cluster.get("Service", pool.namespace, name):
        return None
    pickers = [pod for pod in cluster.pods_in(pool.namespace) if is_picker(pod) and not pod.finished]
    behind = [
        service.name
        for service in cluster.all("Service", pool.namespace)
        if (chosen := service.table("spec.selector"))
        and any(chosen.items() <= pod.labels.items() for pod in pickers)
    ]
    right = behind[0] if len(behind) == 1 else alike(name, behind)
    why = f"the endpoint picker's Service is called `{right}`"
    change = _edit(pool, "spec.endpointPickerRef.name", right, why) if right else None
    return Refused(said=f"its endpoint picker's Service `{name}` does not exist", change=change)


def wrong_class(cluster: Snapshot, gateway: Object) -> Refused | None:
    """A gateway class that does not exist."""
    name = gateway.text("spec.gatewayClassName")
    if not cluster.sees("GatewayClass") or cluster.get("GatewayClass", "", name):
        return None
    classes = [item.name for item in cluster.all("GatewayClass")]
    right = classes[0] if len(classes) == 1 else alike(name, classes)
    why = f"the cluster's gateway class is `{right}`"
    change = _edit(gateway, "spec.gatewayClassName", right, why) if right else None
    return Refused(said=f"the gateway class `{name}` does not exist", change=change)


def _edit(item: Object, path: str, after: Any, why: str) -> Change:
    return Change(target=item.ref, edits=(Edit(path=path, before=item.value(path), after=after),), why=why)


def _is_current(cluster: Snapshot, namespace: str, name: str) -> bool:
    found = cluster.get("InferencePool", namespace, name)
    return found is not None and found.ref.api_version.startswith(f"{POOL_GROUP}/")


def alike(name: str, names: Iterable[str]) -> str:
    """The one name that was meant: the closest, or the only one there is."""
    listed = list(names)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=_ALIKE)
    return close[0] if close else listed[0] if len(listed) == 1 else ""


def _granted(cluster: Snapshot, route: Object, kind: str, space: str, reason: str) -> bool:
    """Whether a ReferenceGrant of the target's namespace admits a route; where unknown: by its status."""
    if not cluster.sees("ReferenceGrant"):
        return reason != "RefNotPermitted"
    return any(
        any(
            f.get("namespace") == route.namespace and f.get("kind") == route.kind
            for f in g.items("spec.from")
        )
        and any(t.get("kind") == kind for t in g.items("spec.to"))
        for g in cluster.all("ReferenceGrant", space)
    )


def _not_granted(cluster: Snapshot, route: Object, kind: str, space: str) -> Refused:
    said = f"no ReferenceGrant in `{space}` lets routes of `{route.namespace}` refer to a {kind} there"
    fitting = [
        g
        for g in cluster.all("ReferenceGrant", space)
        if any(t.get("kind") == kind for t in g.items("spec.to"))
    ]
    if len(fitting) != 1:
        return Refused(
            said=said, advice=f"create a ReferenceGrant in `{space}` from HTTPRoutes of `{route.namespace}`"
        )
    grant = fitting[0]
    source = {"group": "gateway.networking.k8s.io", "kind": route.kind, "namespace": route.namespace}
    change = _edit(
        grant, "spec.from", [*grant.items("spec.from"), source], f"the route {route.ref} refers to it"
    )
    return Refused(said=said, change=change)


def _wrong_listener(route: Object, gateway: Object, path: str, ref: dict[str, Any]) -> Refused | None:
    section = str(ref.get("sectionName", ""))
    names = [str(listener.get("name", "")) for listener in gateway.items("spec.listeners")]
    if not section or not names or section in names:
        return None
    right = alike(section, names)
    why = f"the gateway's listeners are {', '.join(names)}"
    change = _edit(route, f"{path}.sectionName", right or ABSENT, why)
    return Refused(said=f"the gateway `{gateway.name}` has no listener `{section}`", change=change)


def _not_admitted(route: Object, gateway: Object, ref: dict[str, Any]) -> Refused | None:
    """Listeners that all admit routes of the gateway's own namespace only, which is the default."""
    section = ref.get("sectionName")
    listeners = [
        (at, listener)
        for at, listener in enumerate(gateway.items("spec.listeners"))
        if section in (None, listener.get("name"))
    ]
    if not listeners or gateway.namespace == route.namespace:
        return None
    admitted = [
        ((x.get("allowedRoutes") or {}).get("namespaces") or {}).get("from", "Same") for _, x in listeners
    ]
    if any(one != "Same" for one in admitted):
        return None
    values = [gateway.namespace, route.namespace]
    chosen = {"matchExpressions": [{"key": _BY_NAME, "operator": "In", "values": values}]}
    path = f"spec.listeners[{listeners[0][0]}].allowedRoutes.namespaces"
    change = _edit(
        gateway, path, {"from": "Selector", "selector": chosen}, f"the route {route.ref} attaches to it"
    )
    said = f"the listeners of the gateway `{gateway.name}` admit routes of `{gateway.namespace}` only"
    return Refused(said=said, change=change)
