"""What a pod is asked to be: containers, probes, placement. Source: the API types of Kubernetes 1.37."""

from typing import Any

import msgspec

from tillerman.cluster.masking import masked, masked_words
from tillerman.cluster.meta import Labels, Resources, Typed


class HttpGet(Typed, frozen=True):
    """The path and port (number or name) that an HTTP probe asks."""

    path: str = ""
    port: int | str = ""


class Probe(Typed, frozen=True):
    """A probe; counts and seconds carry the kubelet's defaults where a manifest leaves them out."""

    http_get: HttpGet | None = None
    tcp_socket: dict[str, Any] | None = None
    exec: dict[str, Any] | None = None
    grpc: dict[str, Any] | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    failure_threshold: int = 3

    @property
    def budget_s(self) -> int:
        """Seconds from container start until the kubelet gives up on a container that never answers."""
        return self.initial_delay_seconds + self.failure_threshold * self.period_seconds


class Port(Typed, frozen=True):
    """A port a container declares."""

    name: str = ""
    container_port: int = 0


class EnvVar(Typed, frozen=True):
    """An environment variable: a value, or where it comes from. Secrets are masked."""

    name: str = ""
    value: str = ""
    value_from: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.value:
            msgspec.structs.force_setattr(self, "value", masked(self.name, self.value))


class ResourceRequirements(Typed, frozen=True):
    """What a container asks for and may use at most, as quantities."""

    requests: Resources = {}
    limits: Resources = {}


class VolumeMount(Typed, frozen=True):
    """Where a volume appears in a container."""

    name: str = ""
    mount_path: str = ""
    sub_path: str = ""
    read_only: bool = False


class Container(Typed, frozen=True):
    """A container of a pod or template. Secrets in its words are masked."""

    name: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[dict[str, Any], ...] = ()
    ports: tuple[Port, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    volume_mounts: tuple[VolumeMount, ...] = ()
    lifecycle: dict[str, Any] | None = None
    security_context: dict[str, Any] | None = None
    restart_policy: str = ""

    def __post_init__(self) -> None:
        if self.args:
            msgspec.structs.force_setattr(self, "args", masked_words(self.args))
        if self.command:
            msgspec.structs.force_setattr(self, "command", masked_words(self.command))


class Toleration(Typed, frozen=True):
    """A taint that a pod puts up with."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class PodSpec(Typed, frozen=True):
    """What a pod asks for."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    node_name: str = ""
    node_selector: Labels = {}
    tolerations: tuple[Toleration, ...] = ()
    affinity: dict[str, Any] | None = None
    volumes: tuple[dict[str, Any], ...] = ()
    scheduling_gates: tuple[dict[str, Any], ...] = ()
    runtime_class_name: str = ""
    service_account_name: str = ""
    image_pull_secrets: tuple[dict[str, Any], ...] = ()
    priority_class_name: str = ""
    resource_claims: tuple[dict[str, Any], ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    host_network: bool = False
    host_ipc: bool = msgspec.field(name="hostIPC", default=False)
