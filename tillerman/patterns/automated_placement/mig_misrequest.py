"""Pods ask for a whole GPU where the nodes offer slices of GPUs under other names.

What happens
With MIG in its mixed strategy, and with renamed time slices, a node no longer offers `nvidia.com/gpu`, but
`nvidia.com/mig-1g.10gb`, `nvidia.com/gpu.shared` and the like. A request for the old name, or for a slice of
another size, matches nothing. An engine that reads a slice's UUID as a number dies at its start instead.

How it shows
`Insufficient nvidia.com/gpu` from nodes that offer none of it and other GPU resources instead; `ValueError:
invalid literal for int() with base 10: 'MIG-...'` in the last words of a server.

When we stay silent
A node that the pod may use offers what it asks for, taken or not; the nodes offer no GPU at all (their
plugin is down); an autoscaler is adding a node.

What we propose
The resource that the nodes offer: the only one, or the smallest slice that holds the model; advice for
servers that ask for several GPUs, since an engine cannot spread over slices.

Sources
vllm-project/vllm#6551, #41848; vllm-project/production-stack#252; NVIDIA device plugin 0.20, MIG strategies.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import ABSENT, Change, path_of
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.automated_placement.waiting import Wait, waits_for
from tillerman.patterns.crash import crashes_saying, hurt_by
from tillerman.patterns.fault import Evidence, Fault, Layer, outage, seen_object
from tillerman.patterns.predictable_demands.model_memory import weights_in

_READS_NUMBERS = r"invalid literal for int\(\) with base 10: b?'MIG-"
_SLICE = re.compile(r"mig-\d+g\.(\d+)gb")
#: Of a slice's memory the weights may take this much: the rest is cache and activations.
SHARE = 0.7


@dataclass(frozen=True, kw_only=True)
class MigMisrequest(Fault):
    """Pods that ask for GPUs by a name their nodes do not offer; `instead` is what they do, and how many."""

    layer = Layer.PLACEMENT

    pod: Pod
    asked: str
    count: int
    pods: int
    instead: dict[str, int]

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Pending pods whose nodes have other GPU resources, and servers that cannot read a slice's name."""
        for wait in waits_for(cluster, "other-resource"):
            yield cls._waiting(cluster, wait)
        for owner, said in crashes_saying(cluster, _READS_NUMBERS):
            evidence = tuple(item for one in said[:3] for item in one.evidence)
            yield cls._of(cluster, owner, said[0].crash.pod, evidence, hurts=hurt_by(cluster, owner))

    @classmethod
    def _waiting(cls, cluster: Snapshot, wait: Wait) -> Self:
        instead: dict[str, int] = {}
        for node in wait.nodes:
            for name, offered in cluster.allocatable_gpus(node).items():
                instead[name] = instead.get(name, 0) + offered
        offers = [(node.ref, cluster.allocatable_gpus(node)) for node in wait.nodes[:4]]
        return cls(
            subject=wait.owner,
            severity=outage(cluster, wait.owner),
            evidence=tuple(seen_object(ref, "status.allocatable", offer) for ref, offer in offers),
            hurts=(wait.owner, *(pod.ref for pod in wait.pods)),
            pod=wait.pod,
            asked=wait.resource,
            count=wait.count,
            pods=len(wait.pods),
            instead={name: offered for name, offered in instead.items() if offered},
        )

    @classmethod
    def _of(
        cls, cluster: Snapshot, owner: Ref, pod: Pod, evidence: tuple[Evidence, ...], hurts: tuple[Ref, ...]
    ) -> Self:
        return cls(
            subject=owner,
            severity=outage(cluster, owner),
            evidence=evidence,
            hurts=hurts,
            pod=pod,
            asked="",
            count=0,
            pods=len(hurts) - 1,
            instead={},
        )

    def summary(self) -> str:
        """What is asked for, and what there is."""
        if not self.asked:
            return f"{counted(self.pods, 'pod')} ended: the engine reads the UUID of a MIG slice as a number"
        has = ", ".join(f"{count} `{name}`" for name, count in sorted(self.instead.items()))
        asks = f"{counted(self.pods, 'Pending pod')}, each asking for {self.count} `{self.asked}`"
        return f"{asks}: the nodes that it may use offer {has} instead"

    def explain(self) -> list[str]:
        """From the name to the wait."""
        if not self.asked:
            return ["the container got a MIG slice, whose name is no number", "this engine expects a number"]
        return [
            f"the nodes that the pod may use are partitioned: they offer no `{self.asked}`",
            "a request matches a resource by its exact name, so none of their slices counts",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The name that the nodes offer."""
        name = self._choice(cluster)
        container = next((c for c in self.pod.spec.containers if self.asked in c.resources.limits), None)
        if not name or container is None or self.count != 1:
            return []
        tables = ["limits"] + (["requests"] if self.asked in container.resources.requests else [])
        values: dict[str, object] = {path_of((table, name)): "1" for table in tables}
        values |= {path_of((table, self.asked)): ABSENT for table in tables}
        why = f"the nodes offer `{name}` and no `{self.asked}`"
        change = cluster.edit_each(self.pod, container.name, "resources", values, why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """What slices can do."""
        if not self.asked:
            return ["use an engine version that knows MIG, or whole GPUs"]
        return [
            "`kubectl get nodes -o custom-columns=N:.metadata.name,HAS:.status.allocatable` shows the names",
            "an engine cannot spread over slices: one slice that is large enough, or nodes with whole GPUs",
        ]

    def _choice(self, cluster: Snapshot) -> str:
        """The only resource there is, else the smallest slice that holds the model; "" when unknown."""
        if len(self.instead) == 1:
            return next(iter(self.instead))
        server = cluster.server_of(self.pod)
        weights = weights_in(cluster, server) if server else None
        sizes = [(int(found[1]), name) for name in self.instead if (found := _SLICE.search(name))]
        fits = [(size, name) for size, name in sizes if weights and weights.high_bytes <= SHARE * size * 1e9]
        return min(fits)[1] if fits else ""
