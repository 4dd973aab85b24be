"""A server wants a larger share of its GPU's memory than others on the same GPU leave free.

What happens
An engine reserves a share of the *whole* GPU's memory, whoever else is on it. Time-slicing and MPS hand one
GPU to several pods without dividing its memory; a pod that requests no GPU but sees one takes memory that
nobody counted. Who starts first gets what it wants; the next one finds less and exits.

How it shows
Exit 1 seconds after the start; `Free memory on device cuda:0 (6.0/79.3 GiB) on startup is less than desired
GPU memory utilization (0.9, 71.3 GiB)`, or `Error in memory profiling`; on some nodes or for some replicas
only.

When we stay silent
The server has come up since; what takes the memory is unknown and the crash is new (a pod that is leaving
frees it).

What we propose
On a shared GPU a share that leaves the others theirs, for each server that takes more; a GPU request where
there is none; a slightly smaller share where only the driver's own memory is missing.

Sources
vllm-project/production-stack#1047, NVIDIA/k8s-device-plugin#323, vllm-project/vllm#23661; vLLM 0.32
`request_memory`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

from tillerman.cluster.change import Change
from tillerman.cluster.model import Node, Ref
from tillerman.cluster.placement import GPU
from tillerman.cluster.quantity import GIB
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.crash import Said, crashes_saying, hurt_by
from tillerman.patterns.fault import Fault, Layer, outage, seen_object
from tillerman.patterns.predictable_demands.gpu_neighbours import intruders, share_of, shares_of
from tillerman.patterns.predictable_demands.model_memory import weights_in

_LESS = (
    r"Free memory on device(?: \S+)? \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than"
    r"|Error in memory profiling\. Initial free memory"
)
#: Of its fair part of a shared GPU a server may reserve this much: each process has a CUDA context beside
#: it.
OF_FAIR = 0.94
#: Of what was free a server that has the GPU to itself may reserve this much: the free memory varies a
#: little.
OF_FREE = 0.98
#: With this much free there is no neighbour: driver and context take the rest.
NEARLY_FREE = 0.7
#: Restarts after which a neighbour that is leaving would have left.
LASTING = 3

Cause = Literal["shared", "no-request", "intruder", "too-much", "unknown"]
Taker = tuple[Ref, Cause, Server | None]

_SUMMARIES: dict[Cause, str] = {
    "shared": "gpu-memory-utilization {share:g} on GPUs that {shares} pods share (time-slicing or MPS)",
    "no-request": "it requests no GPU, so it shares whichever it sees",
    "intruder": "{subject} uses the GPU without requesting one",
    "too-much": "less than its gpu-memory-utilization {share:g}",
    "unknown": "less than its gpu-memory-utilization {share:g}, and nothing seen says what holds the rest",
}
_CAUSES: dict[Cause, str] = {
    "shared": "one GPU is given to {shares} pods, undivided, and a server reserves {share:g} of the whole",
    "no-request": "the pod requests no GPU, so none is kept for it alone",
    "intruder": "a pod of {subject} is on the GPU without a request, so the GPU is handed out once more",
    "too-much": "the driver and the CUDA context take a part that cannot be reserved",
    "unknown": "something that is no pod holds memory of the GPU: often a process that was left behind",
}


@dataclass(frozen=True, kw_only=True)
class GpuSharedFreeLessThanWanted(Fault):
    """A server that takes more of a GPU than it may, and the one that found too little left."""

    layer = Layer.ENGINE

    server: Server | None
    cause: Cause
    victim: Ref
    node: str
    shares: int
    free_gib: float | None
    total_gib: float | None
    weights_gib: float | None

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """One finding for each object whose servers take too much."""
        found: dict[Ref, Self] = {}
        for owner, said in crashes_saying(cluster, _LESS):
            worst = min(said, key=lambda one: float(one.found["free"] or 0))
            for taker in _takers(cluster, owner, worst):
                found.setdefault(taker[0], cls._of(cluster, taker, owner, worst))
        yield from found.values()

    @classmethod
    def _of(cls, cluster: Snapshot, taker: Taker, victim: Ref, said: Said) -> Self:
        subject, cause, server = taker
        node = cluster.node(said.crash.pod.spec.node_name)
        shares = shares_of(cluster, node) if node else 1
        weights = weights_in(cluster, server) if server else None
        replicas = seen_object(node.ref, 'labels["nvidia.com/gpu.replicas"]', shares) if node else None
        free, total = said.found["free"], said.found["total"]
        return cls(
            subject=subject,
            severity=outage(cluster, victim),
            evidence=(*said.evidence, *((replicas,) if replicas and shares > 1 else ())),
            hurts=tuple(dict.fromkeys((subject, *hurt_by(cluster, victim)))),
            certainty="likely" if cause == "unknown" else "proven",
            server=server,
            cause=cause,
            victim=victim,
            node=said.crash.pod.spec.node_name,
            shares=shares,
            free_gib=float(free) if free else None,
            total_gib=float(total) if total else None,
            weights_gib=weights.low_bytes / GIB if weights else None,
        )

    def _filled(self, text: str) -> str:
        share = share_of(self.server) if self.server else 0.0
        return text.format(share=share, shares=self.shares, subject=self.subject)

    def summary(self) -> str:
        """What was free, and who takes how much."""
        free = f"{self.free_gib:g} of {self.total_gib:g} GiB" if self.total_gib else "too little"
        return (
            f"{free} GPU memory free for {self.victim} on {self.node}: {self._filled(_SUMMARIES[self.cause])}"
        )

    def explain(self) -> list[str]:
        """From the sharing to the exit."""
        return [
            self._filled(_CAUSES[self.cause]),
            "who starts later finds less free memory than it is told to reserve",
            "the engine checks that first, and exits",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The share that fits, or a GPU of its own."""
        change = None
        if self.server and self.cause in ("shared", "too-much") and (share := self._fitting_share()):
            pods = f" {self.shares} pods share the GPU;" if self.cause == "shared" else ""
            why = (
                f"{self.free_gib or 0:g} GiB of {self.total_gib or 0:g} were free;{pods} {share:g} of it fits"
            )
            change = cluster.edit_flag(self.server, "gpu-memory-utilization", f"{share:g}", why)
        elif self.server and self.cause in ("no-request", "intruder"):
            pod, container, count = self.server.pod, self.server.container.name, self.server.tensor_parallel
            why = "a GPU that is requested is given to no other pod"
            change = cluster.edit_each(pod, container, "resources", {f'limits["{GPU}"]': str(count)}, why)
        return [change] if change else []

    def _fitting_share(self) -> float | None:
        """The share of the GPU that leaves the others theirs; None when the weights do not fit in it."""
        total = self.total_gib or 0.0
        if self.cause == "too-much":
            return math.floor((self.free_gib or 0.0) / total * OF_FREE * 100) / 100 if total else None
        share = math.floor(OF_FAIR / self.shares * 100) / 100
        return None if total and (self.weights_gib or 0.0) > share * total else share

    def advice(self) -> list[str]:
        """GPUs that are not shared, and who holds the memory."""
        image = "nvidia/cuda:12.8.0-base-ubuntu24.04"
        look = f"`kubectl debug node/{self.node} -it --image={image} -- nvidia-smi` shows who holds the GPU"
        if self.cause == "shared":
            return [look, "a model that needs more than its part belongs on nodes whose GPUs are not shared"]
        return [look, "end a process that no pod owns, or drain the node and reset its GPUs"]


def _takers(cluster: Snapshot, owner: Ref, said: Said) -> Iterator[Taker]:
    """The objects that take more of the GPU than they may, why, and their server."""
    server, node = said.crash.server, cluster.node(said.crash.pod.spec.node_name)
    if not server.gpus and not server.pod.spec.resource_claims:
        yield owner, "no-request", server
    elif node is None:
        yield owner, "unknown", server
    elif (shares := shares_of(cluster, node)) > 1:
        here = [one for one in cluster.servers if one.pod.spec.node_name == node.name and one.gpus]
        for one in sorted(here, key=lambda s: s.pod.ref.key != server.pod.ref.key):
            if share_of(one) > 1 / shares:
                yield cluster.owner_of(one.pod), "shared", one
    elif found := list(intruders(cluster, node)):
        yield from ((cluster.owner_of(pod), "intruder", other) for pod, other in found)
    else:
        yield from _alone(cluster, owner, said, node)


def _alone(cluster: Snapshot, owner: Ref, said: Said, node: Node) -> Iterator[Taker]:
    """A server that has its GPU to itself: it wants all of it, or something that is no pod holds memory."""
    server, total = said.crash.server, said.found["total"]
    free = float(said.found["free"]) / float(total) if total else 0.0
    edited = any(pod.ref.key in cluster.whatif for pod in cluster.pods_on(node.name))
    if free >= NEARLY_FREE:
        if share_of(server) > free:
            yield owner, "too-much", server
    elif total and said.crash.restarts >= LASTING and not edited:
        elsewhere = any(p.ready and p.spec.node_name != node.name for p in cluster.pods_of(owner))
        yield (node.ref if elsewhere else owner), "unknown", server
