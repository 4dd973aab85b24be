"""A route, a pool or a gateway before model servers is refused by its controller, so no request gets through.

What happens
Gateways take a route only where its references hold: a listener that admits it, backends that exist, of a
kind they know, in a namespace that permits it. What is refused is simply not there for clients: 404 where the
route is missing, 500 or 503 where its backend is.

How it shows
`Accepted` or `ResolvedRefs` False on a route or an InferencePool, `Accepted` or `Programmed` False on a
gateway, for more than minutes; mostly with a reference that indeed does not hold.

When we stay silent
The condition is minutes old; the route leads to nothing that serves models; another gateway has accepted it;
a bare-metal gateway merely has no address; the gateway's own refusal explains its routes'.

What we propose
The name, group or listener that was meant, where one is; the namespaces that a listener or a grant admits.

Sources
istio/istio#61594; Gateway API 1.6 condition reasons; Gateway API Inference Extension troubleshooting guide.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.model import Condition, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Fault, Layer, seen_object
from tillerman.patterns.token_aware_routing.pools import backends
from tillerman.patterns.token_aware_routing.references import (
    Refused,
    alike,
    parents_of,
    wrong_backend,
    wrong_class,
    wrong_parent,
    wrong_picker,
)

#: Controllers write a status within seconds; one that stays is an answer.
PERSISTENT_S = 600
#: Reasons that say nothing of their own: no address on bare metal, the route's refusal, still working.
_NOT_ITS_OWN = ("AddressNotAssigned", "HTTPRouteNotAccepted", "Pending")


@dataclass(frozen=True, kw_only=True)
class RouteOrGatewayNotAccepted(Fault):
    """One route, pool or gateway that its controller refuses, and the reference that does not hold."""

    layer = Layer.CONTROL

    item: Object
    condition: Condition
    refused: Refused

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Gateways, routes and pools with a lasting refusal that their references explain."""
        routes = [route for route in cluster.all("HTTPRoute") if _serves_models(cluster, route)]
        gateways = {ref.key for route in routes for ref in _gateways(route)}
        down: set[tuple[str, str, str]] = set()
        for gateway in cluster.all("Gateway"):
            if gateway.ref.key in gateways and (found := cls._of(cluster, gateway, gateway.conditions)):
                down.add(gateway.ref.key)
                yield found
        for route in routes:
            explained = down & {ref.key for ref in _gateways(route)}
            if not explained and (found := cls._of(cluster, route, tuple(parents_of(route)))):
                yield found
        for pool in cluster.all("InferencePool"):
            if found := cls._of(cluster, pool, tuple(parents_of(pool))):
                yield found

    @classmethod
    def _of(cls, cluster: Snapshot, item: Object, said: tuple[Condition, ...]) -> Self | None:
        condition = next((c for c in said if _lasting(cluster, c)), None)
        if condition is None:
            return None
        elsewhere = any(c.type == condition.type and c.status == "True" for c in said)
        refused = _cause(cluster, item, condition)
        if refused is None and not elsewhere and not cluster.whatif:
            refused = Refused(said=condition.message or condition.reason)
        if refused is None:
            return None
        owner = cluster.owner_of(item)
        status = f"{condition.reason}: {condition.message}"
        return cls(
            subject=owner,
            severity="warning" if elsewhere else "critical",
            evidence=(seen_object(item.ref, f"status.conditions[{condition.type}]", status),),
            hurts=tuple(dict.fromkeys((owner, item.ref, *_led_to(cluster, item)))),
            item=item,
            condition=condition,
            refused=refused,
        )

    def summary(self) -> str:
        """The condition, and the reference that does not hold."""
        return (
            f"{self.item.kind} `{self.item.name}` is {self.condition.type}=False ({self.condition.reason}):"
            f" {self.refused.said}"
        )

    def explain(self) -> list[str]:
        """From the reference to the requests."""
        return [
            self.refused.said,
            f"so its controller sets {self.condition.type} to False, reason {self.condition.reason}",
            "requests that should take this way get 404 or 5xx from the gateway",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The reference that was meant; not on an object that its owner rewrites."""
        change = self.refused.change
        target = cluster.object_at(change.target) if change else None
        if change is None or target is None or cluster.owner_of(target).key != target.ref.key:
            return []
        return [change]

    def advice(self) -> list[str]:
        """How to see the status, and what a change cannot do."""
        space = f"-n {self.item.namespace} " if self.item.namespace else ""
        kind = self.item.kind.lower()
        look = (
            f"`kubectl {space}get {kind} {self.item.name} -o jsonpath='{{.status}}'` shows when it is taken"
        )
        return [look, self.refused.advice] if self.refused.advice else [look]


def _cause(cluster: Snapshot, item: Object, condition: Condition) -> Refused | None:
    """The reference that does not hold, by the kind of the object."""
    if item.kind == "Gateway":
        return wrong_class(cluster, item)
    if item.kind == "InferencePool":
        return wrong_picker(cluster, item)
    return wrong_parent(cluster, item) or wrong_backend(cluster, item, condition.reason)


def _lasting(cluster: Snapshot, condition: Condition) -> bool:
    """Whether a condition says for long that something is refused."""
    if condition.type not in ("Accepted", "ResolvedRefs", "Programmed") or condition.status != "False":
        return False
    lasted = cluster.age_s(condition.last_transition_time)
    return condition.reason not in _NOT_ITS_OWN and (lasted is None or lasted >= PERSISTENT_S)


def _serves_models(cluster: Snapshot, route: Object) -> bool:
    """Whether a route is meant to lead to model servers: to a pool, or to a Service of such pods."""
    for _, ref in backends(route):
        if ref.get("kind") == "InferencePool":
            return True
        space, name = str(ref.get("namespace", route.namespace)), str(ref.get("name", ""))
        meant = alike(name, (service.name for service in cluster.all("Service", space)))
        service = cluster.get("Service", space, name) or cluster.get("Service", space, meant)
        chosen = service.table("spec.selector") if service else {}
        if any(cluster.server_of(pod) for pod in cluster.pods_matching(space, chosen)):
            return True
    return False


def _gateways(route: Object) -> Iterator[Ref]:
    for ref in route.items("spec.parentRefs"):
        if isinstance(ref, dict) and ref.get("kind", "Gateway") == "Gateway":
            space = str(ref.get("namespace", route.namespace))
            yield Ref("gateway.networking.k8s.io/v1", "Gateway", space, str(ref.get("name", "")))


def _led_to(cluster: Snapshot, item: Object) -> Iterator[Ref]:
    """What lies behind: the routes of a gateway, the pools of a route."""
    if item.kind == "Gateway":
        for route in cluster.all("HTTPRoute"):
            if item.ref.key in {ref.key for ref in _gateways(route)}:
                yield route.ref
    for _, ref in backends(item) if item.kind == "HTTPRoute" else ():
        found = cluster.get(str(ref.get("kind", "")), item.namespace, str(ref.get("name", "")))
        if found is not None:
            yield found.ref
