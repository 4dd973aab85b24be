"""Pods ask for a node label value that no node carries, while the nodes they mean carry a near one.

What happens
A node selector or a required affinity names a GPU product (or machine) literally. Product labels carry
suffixes (`-SHARED` when time-sliced, `-MIG-...`, `-PCIE-`), each cloud has labels of its own, and a typo is
enough: the scheduler compares strings, so no node matches, however many GPUs are free.

How it shows
`didn't match Pod's node affinity/selector` for every node; the value is on no node, a similar one is.

When we stay silent
Some node has the labels; an autoscaler is adding a node, or a node pool at zero would give the label; GPU
nodes lack the label altogether (then discovery is down, not the selector wrong); the selector is not about
GPUs.

What we propose
The value (or the label) that nodes with the GPUs asked for carry, where one is near; else advice.

Sources
ome-projects/ome#319; NVIDIA GPU feature discovery 0.20, labels of time-sliced and MIG nodes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change, path_of
from tillerman.cluster.model import Node
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.automated_placement.labels import Want, near, relabel, unmet
from tillerman.patterns.automated_placement.waiting import Wait, waits_for
from tillerman.patterns.fault import Certainty, Fault, Layer, outage, seen_object

#: Labels that say which accelerator a node has. Sources: GPU feature discovery, GKE, EKS, AKS.
_ABOUT_GPUS = re.compile(r"gpu|accelerator|nvidia|amd\.com|mig\.")
#: Kinds whose objects make nodes: a label that one of them gives is right even while it has no node.
_NODE_MAKERS = ("NodePool", "NodeClaim", "MachineSet", "MachineDeployment", "MachinePool")


@dataclass(frozen=True, kw_only=True)
class WrongProductSelector(Fault):
    """Pending pods of one owner, the label they insist on, and the one (key and value) that nodes carry."""

    layer = Layer.PLACEMENT

    wait: Wait
    want: Want
    label: tuple[str, str]
    nodes: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose Pending pods name a value that is on no node."""
        for wait in waits_for(cluster, "selector"):
            want = unmet(cluster, wait.pod)
            if want is None or not (wait.asked or _ABOUT_GPUS.search(want.key)) or _may_come(cluster, want):
                continue
            key, value = near(want, (node for node in cluster.nodes if _offers(cluster, node, wait)))
            nodes = [node for node in cluster.nodes if value and node.labels.get(key) == value]
            certainty: Certainty = "proven" if value else "likely"
            where = path_of(("metadata", "labels", key))
            yield cls(
                subject=wait.owner,
                severity=outage(cluster, wait.owner),
                evidence=(
                    seen_object(wait.pod.ref, f"spec.{want.field}", ", ".join(want.values)),
                    *(seen_object(node.ref, where, value) for node in nodes[:3]),
                ),
                hurts=(wait.owner, *(pod.ref for pod in wait.pods)),
                certainty=certainty,
                wait=wait,
                want=want,
                label=(key, value),
                nodes=len(nodes),
            )

    def summary(self) -> str:
        """What is asked for, and what there is."""
        has = f"; {counted(self.nodes, 'node')} with the GPUs: `{'='.join(self.label)}`" if self.nodes else ""
        pods = counted(len(self.wait.pods), "Pending pod")
        return f"{pods}: the node selector or affinity asks for `{self.want}`, which no node carries{has}"

    def explain(self) -> list[str]:
        """From the string to the wait."""
        return [
            f"the pods insist on `{self.want}`",
            "label values are compared as strings, and no node of the cluster has this one",
            "so every node is ruled out before its GPUs are looked at",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The label that the nodes carry, in the place of the one that none does."""
        if not self.nodes:
            return []
        why = f"{counted(self.nodes, 'node')} with the GPUs: `{'='.join(self.label)}`; none: `{self.want}`"
        change = relabel(cluster, self.wait.pod, self.want, self.label, why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """Where the values are."""
        return [
            f"`kubectl get nodes -L {self.want.key}` shows the values that exist",
            "a rule on `nvidia.com/gpu.memory` or `nvidia.com/gpu.compute.major` outlives product names",
        ]


def _may_come(cluster: Snapshot, want: Want) -> bool:
    """Whether nodes with this label are only not there yet: at zero in their pool, or not labelled."""
    made = [str(item.raw) for kind in _NODE_MAKERS for item in cluster.all(kind)]
    if any(want.key in text and value in text for text in made for value in want.values):
        return True
    bare = [n for n in cluster.nodes if cluster.looks_like_gpu(n) and want.key not in n.labels]
    return bool(bare) and any(want.key in node.labels for node in cluster.nodes)


def _offers(cluster: Snapshot, node: Node, wait: Wait) -> bool:
    """Whether a node has the accelerators that the pods ask for, taken or not."""
    have = cluster.allocatable_gpus(node)
    return all(have.get(name, 0) >= count for name, count in wait.asked.items())
