"""An InferencePool selects none of its model servers, or sends requests to a port where none of them listens.

What happens
A pool finds its servers by the labels of their pods and sends to one port of each. Its status checks neither:
it is accepted and resolved, while every request ends in 503. With a routing sidecar before the engine the
pool must name the sidecar's port; the engine's own bypasses it, or reaches nothing.

How it shows
No server among the pods that its labels match, while servers of the namespace carry other values or lack a
label; or target ports that no selected pod serves. The picker counts 0 ready endpoints; the gateway says `no
healthy upstream`, or `upstream connect error`.

When we stay silent
Its servers are scaled to zero (a workload's template has the labels); the namespace's other servers share no
word of a name with it and are of several models, or reached otherwise; one of its ports is right; the port is
not told by flag, probe or container.

What we propose
The labels that the servers' pods do have, as far as they tell them from others; the port at which they take
requests.

Sources
kubernetes-sigs/gateway-api-inference-extension#2306, #2562 and its troubleshooting guide;
kaito-project/kaito#2048; KServe 0.20 presets; llm-d router 0.10 manifests.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.models import model_of
from tillerman.cluster.quantity import counted
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, seen_metric, seen_object
from tillerman.patterns.token_aware_routing.pools import (
    Pool,
    is_prefill,
    pickers_of,
    pool_of,
    pools,
    request_port,
    routes_to,
    selected,
    servers_in,
    services_of,
    shared_labels,
)

_WORKLOADS = ("Deployment", "StatefulSet", "LeaderWorkerSet")
#: Labels that controllers add and that differ between pods of one kind, or with every rollout.
_PASSING = (
    "pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/",
    "apps.kubernetes.io/",
)


#: Words of fewer letters, and words that any server's name may hold, name no model.
SHORTEST = 3
_COMMON = re.compile(
    r"pool|infpool|inference|llm|vllm|sglang|models?|server|serv(?:e|ing)|decode|prefill|app|epp|workload"
    r"|predictor|default|gateway|main|router|prod|production|staging|dev|true"
)


@dataclass(frozen=True, kw_only=True)
class PoolSelectorOrPortMismatch(Fault):
    """One pool that reaches none of its servers: by its labels (`port` is None), or by its port."""

    layer = Layer.TRAFFIC

    pool: Pool
    servers: tuple[Server, ...]
    labels: dict[str, str]
    port: int | None

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Pools whose labels match no server, or whose ports are not those of the servers they match."""
        for pool in pools(cluster):
            pods = {pod.name for pod in selected(cluster, pool)}
            servers = tuple(s for s in servers_in(cluster, pool.pool.namespace) if s.pod.name in pods)
            if pool.labels and not servers:
                meant = _meant(cluster, pool)
                if meant:
                    yield cls._of(cluster, pool, meant, _better(cluster, pool, meant), None)
            elif servers and (port := _other_port(pool, servers)):
                yield cls._of(cluster, pool, servers, {}, port)

    @classmethod
    def _of(
        cls,
        cluster: Snapshot,
        pool: Pool,
        servers: tuple[Server, ...],
        labels: dict[str, str],
        port: int | None,
    ) -> Self:
        routes = tuple(
            r.ref for r in routes_to(cluster, pool.pool.namespace, "InferencePool", {pool.pool.name})
        )
        return cls(
            subject=pool.source.ref,
            severity="critical" if routes or not cluster.sees("HTTPRoute") else "warning",
            evidence=tuple(_seen(cluster, pool, servers, port)),
            hurts=(pool.source.ref, pool.ref, *routes),
            pool=pool,
            servers=servers,
            labels=labels,
            port=port,
        )

    def summary(self) -> str:
        """What the pool says, and what its servers are."""
        name = self.pool.pool.name
        if self.port:
            said = ", ".join(str(port) for port in self.pool.ports)
            return (
                f"the pool `{name}` sends requests to port {said}, its"
                f" {counted(len(self.servers), 'server')} take{'s' if len(self.servers) == 1 else ''} them"
                f" at {self.port}"
            )
        said = ", ".join(f"{key}={value}" for key, value in self.pool.labels.items())
        return f"the pool `{name}` selects `{said}`, which none of {len(self.servers)} model servers here has"

    def explain(self) -> list[str]:
        """From the pool to the answers."""
        if self.port:
            return [
                f"the pods that the pool selects take requests at port {self.port}",
                f"the pool sends to {', '.join(map(str, self.pool.ports))}, which is not where they do",
                "the gateway resets such requests with 503 while pool and pods look healthy",
            ]
        return [
            "the pool's labels match no model server, though servers run in its namespace",
            "so the endpoint picker has no endpoint to choose",
            "every request to the pool is answered with 503",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The labels, or the port, that the servers have."""
        pool = self.pool
        if self.port:
            path, after, why = *_port_edit(pool, self.port), f"the selected pods take requests at {self.port}"
        elif self.labels:
            path, after = pool.selector_path, self.labels
            why = "all its model servers carry these labels, and no other server does"
        else:
            return []
        edit = Edit(path=path, before=pool.source.value(path), after=after)
        return [Change(target=pool.source.ref, edits=(edit,), why=why)]

    def advice(self) -> list[str]:
        """How to look."""
        space = self.pool.pool.namespace
        return [
            f"`kubectl -n {space} get pods --show-labels` shows what the pool could select by",
            "labels belong on the pod template: those of the Deployment itself select nothing",
        ]


def _meant(cluster: Snapshot, pool: Pool) -> tuple[Server, ...]:
    """The servers a pool was meant for: of those that no other pool selects, those that agree most with it.

    None when a workload's template carries the labels (it is scaled to zero), or when it is a mere guess.
    """
    space = pool.pool.namespace
    workloads = [workload for kind in _WORKLOADS for workload in cluster.all(kind, space)]
    if any(_carries(t.metadata.labels, pool) for w in workloads for t in w.templates.values()):
        return ()
    groups: dict[Ref, list[Server]] = {}
    for server in servers_in(cluster, space):
        if pool_of(cluster, server.pod) is None:
            groups.setdefault(cluster.owner_of(server.pod), []).append(server)
    agreeing = {owner: _agreeing(servers[0].pod, pool) for owner, servers in groups.items()}
    named = {owner for owner, servers in groups.items() if _words(pool) & _words_of(owner, servers[0])}
    if not named and (any(agreeing.values()) or _used(cluster, pool)):
        models = {model_of(cluster, servers[0]) or owner.name for owner, servers in groups.items()}
        idle = not any(_routed(cluster, servers[0].pod) for servers in groups.values())
        named = set(groups) if len(models) == 1 and idle else set()
    most = max((agreeing[owner] for owner in named), default=0)
    best = [owner for owner in groups if owner in named and agreeing[owner] == most]
    return tuple(server for owner in best for server in groups[owner])


def _used(cluster: Snapshot, pool: Pool) -> bool:
    """Whether requests are meant to come to a pool: a route leads to it."""
    return any(True for _ in routes_to(cluster, pool.pool.namespace, "InferencePool", {pool.pool.name}))


def _routed(cluster: Snapshot, pod: Pod) -> bool:
    """Whether a route leads to a pod past any pool, by a Service."""
    names = {service.name for service in services_of(cluster, pod)}
    return any(True for _ in routes_to(cluster, pod.namespace, "Service", names))


def _words(pool: Pool) -> set[str]:
    """The words of a pool's name and labels that could name a model or a team."""
    return _telling(pool.pool.name, *pool.labels.values())


def _words_of(owner: Ref, server: Server) -> set[str]:
    named = (server.flag(name) for name in ("model", "served-model-name"))
    return _telling(owner.name, *server.pod.labels.values(), *(flag.value for flag in named if flag))


def _telling(*names: str) -> set[str]:
    words = {word for name in names for word in re.split(r"[^a-z0-9]+", name.lower())}
    return {word for word in words if len(word) >= SHORTEST and not _COMMON.fullmatch(word)}


def _carries(labels: dict[str, str], pool: Pool) -> bool:
    return all(labels.get(key) == value for key, value in pool.labels.items())


def _agreeing(pod: Pod, pool: Pool) -> int:
    return sum(pod.labels.get(key) == value for key, value in pool.labels.items())


def _better(cluster: Snapshot, pool: Pool, servers: tuple[Server, ...]) -> dict[str, str]:
    """The pool's labels with the servers' values; empty when these do not tell them from others."""
    shared = {
        k: v for k, v in shared_labels(tuple(s.pod for s in servers)).items() if not k.startswith(_PASSING)
    }
    names = {server.pod.name for server in servers}
    kept = {key: shared[key] for key in pool.labels if key in shared}
    for labels in (kept, *({key: value} for key, value in shared.items())):
        matched = {pod.name for pod in cluster.pods_matching(pool.pool.namespace, labels)}
        others = [s for s in servers_in(cluster, pool.pool.namespace) if s.pod.name in matched - names]
        if labels and not others:
            return labels
    return {}


def _other_port(pool: Pool, servers: tuple[Server, ...]) -> int | None:
    """The one port at which the servers that serve requests take them, where the pool names another."""
    asked = [server for server in servers if server.pod.ready and not is_prefill(server.pod)]
    ports = {request_port(server) for server in asked}
    only = next(iter(ports)) if len(ports) == 1 else None
    return only if only and pool.ports and only not in pool.ports else None


def _port_edit(pool: Pool, port: int) -> tuple[str, Any]:
    if isinstance(pool.value("targetPortNumber"), int):
        return f"{pool.root}.targetPortNumber", port
    path = f"{pool.root}.targetPorts"
    whole = pool.source.value(path) is ABSENT
    return (path, [{"number": port}]) if whole else (f"{path}[0].number", port)


def _seen(cluster: Snapshot, pool: Pool, servers: tuple[Server, ...], port: int | None) -> Iterator[Evidence]:
    if port:
        yield seen_object(pool.ref, "spec.targetPorts", ", ".join(map(str, pool.ports)))
        for server in servers[:2]:
            yield seen_object(server.pod.ref, "spec", f"takes requests at port {request_port(server)}")
    else:
        yield seen_object(pool.ref, "spec.selector", pool.labels)
        for server in servers[:2]:
            yield seen_object(server.pod.ref, "metadata.labels", server.pod.labels)
    for picker in pickers_of(cluster, pool)[:1]:
        series = cluster.series(picker)
        ready = series.value("epp_ready")
        if ready is not None:
            yield seen_metric(str(picker.ref), series.name_of("epp_ready") or "epp_ready", ready)
