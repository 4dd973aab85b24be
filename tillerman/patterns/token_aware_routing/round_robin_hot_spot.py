"""Requests pile up at some replicas while others of the model idle: connections are spread, not work.

What happens
A Service balances connections, and clients keep theirs open; round robin takes a prompt of 100 tokens for one
of 100,000. So one replica is given more than it can do, for as long as its connections live.

How it shows
In every scrape requests wait in numbers at some ready replicas of a workload, and none at others.

When we stay silent
An InferencePool's picker chooses between them; a replica without a queue has only just become ready; the
replica with the queue is merely slow (it has no more work than the others and does less of it); they all
queue, or none does.

What we propose
Where a pool for these pods exists and a route goes past it, to their Service: the route's reference to the
pool. A scheduler for an LLMInferenceService that has none. Where the Service pins clients, an end to it. Else
advice: a pool with an endpoint picker.

Sources
defilantech/LLMKube#1812, vllm-project/router#18, vllm-project/vllm#11477, llm-d/llm-d#1156.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, seen_metric, seen_object
from tillerman.patterns.token_aware_routing.pools import (
    POOL_GROUP,
    Pool,
    backends,
    pool_of,
    routes_to,
    servers_in,
    services_of,
)

#: Requests waiting at one replica that are a queue while a neighbour has none: twice what the Workload
#: Variant Autoscaler 0.7 takes for a saturated one.
HOT_WAITING = 10
#: A replica that waits for nothing, whatever a scrape catches in passing.
IDLE_WAITING = 1
#: Clients that keep connections open find a new replica only when they open another.
SETTLED_S = 600
#: A replica that makes fewer tokens than this share of its neighbours' is slow, not badly chosen.
SLOW = 0.5
#: Where an LLMInferenceService asks for a pool and its picker. Source: KServe 0.20 v1alpha2.
_SCHEDULER = "spec.router.scheduler"


class Load(NamedTuple):
    """A replica: the fewest and the most requests that waited, the most that ran, its tokens a second."""

    pod: Pod
    least: float
    most: float
    running: float
    tokens_per_s: float | None


@dataclass(frozen=True, kw_only=True)
class RoundRobinHotSpot(Fault):
    """One workload with replicas that queue beside replicas that idle."""

    layer = Layer.TRAFFIC

    owner: Ref
    hot: tuple[Load, ...]
    idle: tuple[Load, ...]
    pool: Pool | None
    route: Object | None
    service: Object | None

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners with a queue at some replicas and none at others, that no picker chooses between."""
        groups: dict[Ref, list[Load]] = {}
        for namespace in dict.fromkeys(server.pod.namespace for server in cluster.servers):
            for server in servers_in(cluster, namespace):
                if server.pod.ready and (load := _load(cluster, server.pod)):
                    groups.setdefault(cluster.owner_of(server.pod), []).append(load)
        for owner, loads in groups.items():
            hot = tuple(load for load in loads if load.least >= HOT_WAITING)
            idle = tuple(load for load in loads if load.most <= IDLE_WAITING and _settled(cluster, load.pod))
            if hot and idle and not _slow(hot, idle) and (found := cls._of(cluster, owner, hot, idle)):
                yield found

    @classmethod
    def _of(cls, cluster: Snapshot, owner: Ref, hot: tuple[Load, ...], idle: tuple[Load, ...]) -> Self | None:
        """The finding about these replicas; None where a picker chooses or a change has dealt with it."""
        pool = pool_of(cluster, hot[0].pod)
        services = tuple(services_of(cluster, hot[0].pod))
        if (pool and _reached(cluster, pool)) or any(s.ref.key in cluster.whatif for s in services):
            return None
        llm = cluster.object_at(owner) if owner.kind == "LLMInferenceService" else None
        if llm and llm.value(_SCHEDULER) is not ABSENT:
            return None
        route = _route_past(cluster, services) if pool else None
        pinning = next((s for s in services if s.text("spec.sessionAffinity") == "ClientIP"), None)
        subject = route.ref if route else pinning.ref if pinning else owner
        return cls(
            subject=subject,
            severity="warning",
            evidence=(*_seen(cluster, (*hot[:2], *idle[:2])), *_pinned(pinning)),
            hurts=(owner, *(load.pod.ref for load in hot)),
            owner=owner,
            hot=hot,
            idle=idle,
            pool=pool,
            route=route,
            service=pinning,
        )

    def summary(self) -> str:
        """Who queues, who idles."""
        most = max(load.most for load in self.hot)
        return (
            f"up to {most:.0f} requests wait at {len(self.hot)} of the replicas of {self.owner}"
            f" while {len(self.idle)} wait for none"
        )

    def explain(self) -> list[str]:
        """From the balancing to the queue."""
        first = (
            "nothing that knows the replicas' queues chooses between them: connections are spread, not work"
        )
        if self.service:
            first = f"the Service `{self.service.name}` keeps each client at one replica (sessionAffinity)"
        if self.route and self.pool:
            first = (
                f"the route `{self.route.name}` goes past the pool `{self.pool.pool.name}`, to the Service"
            )
        return [
            first,
            f"requests wait at {', '.join(load.pod.name for load in self.hot[:3])}",
            f"none waits at {', '.join(load.pod.name for load in self.idle[:3])}, which could serve them",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The route to the pool, or clients that are not pinned."""
        if self.route and self.pool:
            edits = tuple(_to_pool(cluster, self.route, self.pool, self.hot[0].pod))
            why = f"the picker of `{self.pool.pool.name}` knows the queue and the cache of each replica"
            return [Change(target=self.route.ref, edits=edits, why=why)] if edits else []
        if self.owner.kind == "LLMInferenceService" and cluster.object_at(self.owner):
            edit = Edit(path=_SCHEDULER, before=ABSENT, after={})
            why = "an empty scheduler block gives the service a pool and an endpoint picker from its preset"
            return [Change(target=self.owner, edits=(edit,), why=why)]
        if self.service:
            edit = Edit(path="spec.sessionAffinity", before="ClientIP", after="None")
            why = "a client that is pinned to one replica fills it, however free the others are"
            return [Change(target=self.service.ref, edits=(edit,), why=why)]
        return []

    def advice(self) -> list[str]:
        """What balances work."""
        return [
            "put an InferencePool with an endpoint picker before these pods: it knows queues and prefixes",
            "until then: a gateway with least-request balancing, and clients that close idle connections",
        ]


def _load(cluster: Snapshot, pod: Pod) -> Load | None:
    series = cluster.series(pod)
    waiting, running = series.values("waiting"), series.values("running")
    if len(waiting) < 2 or not running:  # noqa: PLR2004 - one scrape is a moment
        return None
    return Load(pod, min(waiting), max(waiting), max(running), series.rate("generated"))


def _settled(cluster: Snapshot, pod: Pod) -> bool:
    """Whether a replica has been ready long enough for clients to find it; unknown counts as yes."""
    ready = pod.condition("Ready")
    since = cluster.age_s(ready.last_transition_time if ready else None)
    return since is None or since >= SETTLED_S


def _slow(hot: tuple[Load, ...], idle: tuple[Load, ...]) -> bool:
    """Whether the replicas that queue make far fewer tokens than those that do not."""
    made = [load.tokens_per_s for load in hot if load.tokens_per_s is not None]
    others = [load.tokens_per_s for load in idle if load.tokens_per_s]
    return bool(made and others) and max(made) < SLOW * min(others)


def _reached(cluster: Snapshot, pool: Pool) -> bool:
    """Whether some route leads to the pool, or none could be seen."""
    routes = routes_to(cluster, pool.pool.namespace, "InferencePool", {pool.pool.name})
    return any(True for _ in routes) or not cluster.sees("HTTPRoute")


def _route_past(cluster: Snapshot, services: tuple[Object, ...]) -> Object | None:
    """The route that leads to one of the pods' Services."""
    names = {service.name for service in services}
    return next(routes_to(cluster, services[0].namespace, "Service", names), None) if names else None


def _to_pool(cluster: Snapshot, route: Object, pool: Pool, pod: Pod) -> Iterator[Edit]:
    """Each reference of a route to a Service of the pods, as a reference to their pool."""
    names = {service.name for service in services_of(cluster, pod)}
    for path, ref in backends(route):
        if ref.get("kind", "Service") == "Service" and ref.get("name") in names:
            kept = {key: ref[key] for key in ("namespace", "weight", "filters") if key in ref}
            after: dict[str, Any] = {"group": POOL_GROUP, "kind": "InferencePool", "name": pool.pool.name}
            yield Edit(path=path, before=ref, after=after | kept)


def _seen(cluster: Snapshot, loads: tuple[Load, ...]) -> Iterator[Evidence]:
    for load in loads:
        series = cluster.series(load.pod)
        values = ", then ".join(f"{value:.0f}" for value in series.values("waiting"))
        yield seen_metric(str(load.pod.ref), series.name_of("waiting") or "waiting", values)


def _pinned(service: Object | None) -> tuple[Evidence, ...]:
    return (seen_object(service.ref, "spec.sessionAffinity", "ClientIP"),) if service else ()
