"""Inference pools as faults of routing ask about them: what they select, who picks, which routes lead in."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tillerman.cluster.change import ABSENT
from tillerman.cluster.commandline import flags_of
from tillerman.cluster.life import is_sidecar
from tillerman.cluster.model import Container, Pod, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot

POOL_GROUP = "inference.networking.k8s.io"
#: Where an LLMInferenceService may say what its pool shall be. Source: KServe 0.20 v1alpha2.
_IN_SERVICE = "spec.router.scheduler.pool.spec"
#: The sidecar that takes requests in front of a decode server. Sources: llm-d router 0.10 (disagg sidecar),
#: its older name and KServe 0.20 presets.
_SIDECAR = re.compile(r"routing-sidecar|disagg-sidecar|routing-proxy|pd-sidecar")
_SIDECAR_PORT = 8000
#: Ports of the engines' servers where nothing says otherwise. Sources: vLLM 0.32, SGLang 0.5, TGI 3.3.
_ENGINE_PORTS = {"vllm": 8000, "sglang": 30000, "tgi": 80, "trtllm": 8000}
_PICKER = re.compile(r"endpoint-picker|inference-scheduler|(?:^|/)epp[:@]")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """An InferencePool with the object a person edits for it, and the path of its spec there."""

    pool: Object
    source: Object
    root: str

    @property
    def ref(self) -> Ref:
        """The pool itself."""
        return self.pool.ref

    def value(self, field: str) -> Any:
        """A field of the spec, as the object that a person edits says it, else as the pool does."""
        found = self.source.value(f"{self.root}.{field}")
        return self.pool.value(f"spec.{field}") if found is ABSENT else found

    @property
    def selector_path(self) -> str:
        """The path of the labels: the alpha version had them without `matchLabels`."""
        flat = isinstance(self.value("selector"), dict) and "matchLabels" not in self.value("selector")
        return f"{self.root}.selector" if flat else f"{self.root}.selector.matchLabels"

    @property
    def labels(self) -> dict[str, str]:
        """The labels it selects by."""
        selector = self.value("selector")
        found = selector.get("matchLabels", selector) if isinstance(selector, dict) else {}
        return {str(key): str(value) for key, value in found.items() if isinstance(value, str)}

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports it sends requests to."""
        listed = self.value("targetPorts")
        numbers = [p.get("number") for p in listed if isinstance(p, dict)] if isinstance(listed, list) else []
        alpha = self.value("targetPortNumber")
        return tuple(n for n in (*numbers, alpha) if isinstance(n, int))

    @property
    def closes(self) -> bool:
        """Whether requests fail while the endpoint picker does not answer: FailClose, the default."""
        reference = self.value("endpointPickerRef")
        mode = reference.get("failureMode") if isinstance(reference, dict) else None
        return mode != "FailOpen"


def pools(cluster: Snapshot, namespace: str | None = None) -> Iterator[Pool]:
    """Every InferencePool, by namespace and name."""
    for item in cluster.all("InferencePool", namespace):
        owner = cluster.object_at(cluster.owner_of(item))
        if owner is not None and owner.kind == "LLMInferenceService":
            yield Pool(pool=item, source=owner, root=_IN_SERVICE)
        else:
            yield Pool(pool=item, source=item, root="spec")


def selected(cluster: Snapshot, pool: Pool) -> tuple[Pod, ...]:
    """The unfinished pods that a pool's labels match."""
    return tuple(p for p in cluster.pods_matching(pool.pool.namespace, pool.labels) if not p.finished)


def pool_of(cluster: Snapshot, pod: Pod) -> Pool | None:
    """The pool that selects a pod, or None."""
    labels = pod.labels
    return next(
        (p for p in pools(cluster, pod.namespace) if p.labels and p.labels.items() <= labels.items()), None
    )


def routes_to(cluster: Snapshot, namespace: str, kind: str, names: set[str]) -> Iterator[Object]:
    """The HTTPRoutes that lead to one of these objects of a namespace."""
    for route in cluster.all("HTTPRoute"):
        if any(
            ref.get("kind", "Service") == kind
            and ref.get("name") in names
            and ref.get("namespace", route.namespace) == namespace
            for _, ref in backends(route)
        ):
            yield route


def backends(route: Object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The backend references of a route, each with its path."""
    for at, rule in enumerate(route.items("spec.rules")):
        for index, ref in enumerate((rule.get("backendRefs") or ()) if isinstance(rule, dict) else ()):
            if isinstance(ref, dict):
                yield f"spec.rules[{at}].backendRefs[{index}]", ref


def services_of(cluster: Snapshot, pod: Pod) -> Iterator[Object]:
    """The Services that select a pod."""
    for service in cluster.all("Service", pod.namespace):
        chosen = service.table("spec.selector")
        if chosen and chosen.items() <= pod.labels.items():
            yield service


def is_picker(pod: Pod) -> bool:
    """Whether a pod is an endpoint picker."""
    return any(
        _PICKER.search(c.image) or any(word.startswith("--pool-name") for word in (*c.args, *c.command))
        for c in pod.spec.containers
    )


def pickers_of(cluster: Snapshot, pool: Pool) -> tuple[Pod, ...]:
    """The endpoint picker pods behind a pool's reference to their Service."""
    reference = pool.value("endpointPickerRef")
    name = str(reference.get("name", "")) if isinstance(reference, dict) else ""
    service = cluster.get("Service", pool.pool.namespace, name)
    chosen = service.table("spec.selector") if service else {}
    return tuple(p for p in cluster.pods_matching(pool.pool.namespace, chosen) if not p.finished)


def servers_in(cluster: Snapshot, namespace: str) -> tuple[Server, ...]:
    """The model servers of a namespace; a picker's tokenizer made from an engine's image is none."""
    found = (cluster.server_of(pod) for pod in cluster.pods_in(namespace) if not pod.finished)
    return tuple(server for server in found if server and not is_picker(server.pod))


def is_prefill(pod: Pod) -> bool:
    """Whether a pod only prefills: requests never come to it from outside."""
    component = pod.labels.get("app.kubernetes.io/component", "")
    return pod.labels.get("llm-d.ai/role") == "prefill" or "prefill" in component


def request_port(server: Server) -> int | None:
    """The port at which a server's pod takes requests: its routing sidecar's, else the engine's."""
    sidecar = next((c for c in _containers(server.pod) if _SIDECAR.search(f"{c.name} {c.image}")), None)
    if sidecar is not None:
        named = next(
            (f.value for f in flags_of((*sidecar.command, *sidecar.args), "args") if f.name == "port"), ""
        )
        return int(named) if named.isdigit() else _declared(sidecar) or _SIDECAR_PORT
    return engine_port(server)


def engine_port(server: Server) -> int | None:
    """The port an engine listens on: its flag, what its probe asks, the one port it declares, its default."""
    flag = server.number("port") or server.number("http-port")
    if flag:
        return int(flag)
    container = server.container
    for probe in (container.readiness_probe, container.startup_probe, container.liveness_probe):
        asked = probe.http_get.port if probe and probe.http_get else None
        named = {port.name: port.container_port for port in container.ports}
        if asked:
            return asked if isinstance(asked, int) else named.get(asked)
    return _declared(container) or _ENGINE_PORTS.get(server.engine)


def _declared(container: Container) -> int | None:
    ports = {port.container_port for port in container.ports}
    return next(iter(ports)) if len(ports) == 1 else None


def _containers(pod: Pod) -> tuple[Container, ...]:
    """The containers that run beside each other, native sidecars included."""
    return (*pod.spec.containers, *(c for c in pod.spec.init_containers if is_sidecar(c)))


def shared_labels(pods: tuple[Pod, ...]) -> Mapping[str, str]:
    """The labels that all these pods have with the same value."""
    first = pods[0].labels if pods else {}
    return {k: v for k, v in first.items() if all(pod.labels.get(k) == v for pod in pods)}
