"""A server on several GPUs has too little shared memory (/dev/shm), and its processes die when they meet.

What happens
The processes of one engine talk through files in /dev/shm: NCCL's channels between GPUs, the engine's message
queues. A container gets 64 MiB of it unless its pod mounts more. The first process that finds it full fails
with an error that names NCCL, or is killed by a bus error.

How it shows
`Error while creating shared memory segment`, `No space left on device` for a file in /dev/shm, `Bus error` or
exit 135, `unhandled system error` from NCCL; a /dev/shm that is not mounted, or is small.

When we stay silent
/dev/shm is bounded by the node's memory alone (no sizeLimit, or the node's own), or is as large as the GPUs
need; the error is another one, or names NCCL's network; the server recovered since.

What we propose
A memory-backed volume at /dev/shm, 8Gi for up to four GPUs of a pod and 16Gi above, in every template of the
owner: leader and workers alike. Where one is mounted, its size.

Sources
NVIDIA/nccl#290, NVIDIA/nccl#525, llm-d/llm-d#352, ai-dynamo/dynamo#1408, vllm-project/vllm#1710.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from tillerman.cluster.change import Change
from tillerman.cluster.life import last_end
from tillerman.cluster.logs import Line
from tillerman.cluster.model import Ref
from tillerman.cluster.quantity import gibibytes, whole_gi
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.crash import ending, hurt_by, still_failing
from tillerman.patterns.fault import Evidence, Fault, Layer, outage, seen_log, seen_object
from tillerman.patterns.predictable_demands.shared_memory import (
    DEFAULT_BYTES,
    MOUNT,
    enlarged,
    enough_for,
    shared_memory_of,
)

#: Lines that name shared memory: NCCL, Python's shared_memory (`/psm_...`), PyTorch's loaders.
_NAMED = (
    r"(?i)shared memory segment|insufficient shared memory|out of shared memory"
    r"|/dev/shm/?\S*.*No space left|No space left on device.*(?:/dev/shm|/psm_|/nccl-)"
)
#: Lines that fit a lack of shared memory and other causes too, and lines that speak for one of those: NCCL's
#: network.
_FITTING = r"(?i)unhandled system error|Bus error|SIGBUS"
_NETWORK = r"NCCL WARN.*(?:socket|Bootstrap|[Cc]onnect|ibv_|NET/IB)"
_BUS_ERROR_EXIT = 135


class Sign(NamedTuple):
    """A server that died, the line that speaks of shared memory, and whether it names it."""

    server: Server
    line: Line | None
    named: bool


@dataclass(frozen=True, kw_only=True)
class ShmTooSmall(Fault):
    """The servers of one owner with a /dev/shm that their GPUs outgrow."""

    layer = Layer.ENGINE

    signs: tuple[Sign, ...]
    servers: tuple[Server, ...]
    shm_bytes: float
    enough_bytes: int
    restarts: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners of servers that died for want of shared memory, and still have too little."""
        groups: dict[Ref, list[Sign]] = {}
        for server in cluster.servers:
            if sign := _sign(cluster, server):
                groups.setdefault(cluster.owner_of(server.pod), []).append(sign)
        for owner, signs in groups.items():
            signs.sort(key=lambda sign: (not sign.named, sign.line is None))
            server = signs[0].server
            shm = shared_memory_of(server.pod, server.container.name) or 0.0
            status = server.pod.status_of(server.container.name)
            yield cls(
                subject=owner,
                severity=outage(cluster, owner),
                evidence=(*_shown(signs, shm), *ending(server.pod, server.container.name)),
                hurts=hurt_by(cluster, owner),
                certainty="proven" if signs[0].named else "likely",
                signs=tuple(signs),
                servers=tuple(s for pod in cluster.pods_of(owner) if (s := cluster.server_of(pod))),
                shm_bytes=shm,
                enough_bytes=max(enough_for(_gpus(sign.server)) for sign in signs),
                restarts=status.restart_count if status else 0,
            )

    def summary(self) -> str:
        """The size there is, for how many GPUs, and what the log says."""
        sign = self.signs[0]
        said = f": {sign.line.text.strip()[-140:]}" if sign.line else ""
        return (
            f"{MOUNT} of `{sign.server.container.name}` holds {gibibytes(self.shm_bytes)} for"
            f" {_gpus(sign.server)} GPUs, {self.restarts} restarts{said}"
        )

    def explain(self) -> list[str]:
        """From the size to the restarts."""
        mounted = "is what a container gets where nothing is mounted"
        if any(m.mount_path == MOUNT for m in self.signs[0].server.container.volume_mounts):
            mounted = "is the limit of the volume that is mounted there"
        return [
            f"{gibibytes(self.shm_bytes)} of shared memory {mounted}",
            "the engine's processes and NCCL share buffers there, more with every GPU",
            "the process that finds it full dies, the others end with an error that does not name the cause",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A larger memory volume in every template."""
        size = whole_gi(self.enough_bytes)
        pods = [(s.pod, s.container.name) for s in self.servers if _too_small(s)]
        why = f"{_gpus(self.signs[0].server)} GPUs in a pod share buffers in {MOUNT}; {size} does for them"
        change = enlarged(cluster, pods, size, why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """What it costs."""
        limit = self.signs[0].server.container.resources.limits.get("memory")
        bound = f" ({limit} now)" if limit else ""
        pod = self.signs[0].server.pod
        return [
            f"what fills {MOUNT} counts towards the container's memory limit{bound}: leave room for it",
            f"`kubectl -n {pod.namespace} exec {pod.name} -- df -h {MOUNT}` shows its size and use",
        ]


def _sign(cluster: Snapshot, server: Server) -> Sign | None:
    """What speaks for too little shared memory in a server that ended and has too little.

    A line that does not name it counts only where nothing at all is mounted.
    """
    pod, name = server.pod, server.container.name
    status = pod.status_of(name)
    end = last_end(status) if status else None
    if status is None or end is None or not end.exit_code or not _too_small(server):
        return None
    if not still_failing(cluster, pod, status):
        return None
    log = cluster.last_words(pod, name)
    named = log.first(_NAMED) if log else None
    if named:
        return Sign(server, named[0], named=True)
    fitting = log.first(_FITTING) if log and not log.first(_NETWORK) else None
    none_mounted = shared_memory_of(pod, name) == DEFAULT_BYTES
    if none_mounted and _gpus(server) > 1 and (fitting or end.exit_code == _BUS_ERROR_EXIT):
        return Sign(server, fitting[0] if fitting else None, named=False)
    return None


def _gpus(server: Server) -> int:
    """The GPUs whose processes meet in one pod."""
    return max(server.gpus, server.tensor_parallel)


def _too_small(server: Server) -> bool:
    shm = shared_memory_of(server.pod, server.container.name)
    return shm is not None and shm < enough_for(_gpus(server))


def _shown(signs: list[Sign], shm_bytes: float) -> Iterator[Evidence]:
    for sign in signs[:2]:
        pod, name = sign.server.pod.ref, sign.server.container.name
        if sign.line:
            yield seen_log(pod, name, sign.line.number, sign.line.text)
    first = signs[0].server
    path = f"spec.containers[{first.container.name}].volumeMounts[{MOUNT}]"
    yield seen_object(first.pod.ref, path, gibibytes(shm_bytes))
