"""A GPU has fallen off the bus: the node stays Ready, and whatever is placed on that GPU dies.

What happens
The driver cannot reach the GPU over PCIe any more (XID 79). Kubernetes knows nothing of it: the node is
Ready, and where the device plugin's health checks are off or late, pods still get the GPU. Only a reboot
helps.

How it shows
XID 79 in a node event, the device plugin's log or DCGM's series, or `GPU is lost`, `Unable to determine the
device handle` in the last words of pods; fewer allocatable GPUs, crash-looping pods, series that vanish.

When we stay silent
XID 79 is only the last of old errors: all GPUs are offered, measured, and no pod dies on them; the node is
cordoned, not Ready or new.

What we propose
Nothing that configuration can do: cordon, drain, reboot, and a replacement when it happens again.

Sources
NVIDIA/NVSentinel#155, #1748; aws/eks-node-monitoring-agent#94; leptonai/gpud#604; XID catalogue r580.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.daemon_service.devices import OFF_THE_BUS, Devices, devices
from tillerman.patterns.fault import Fault, Layer


@dataclass(frozen=True, kw_only=True)
class GpuFellOffBus(Fault):
    """A node with a GPU that its driver cannot reach."""

    layer = Layer.HARDWARE

    found: Devices
    measured: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Nodes with a lost GPU that something is missing or dies because of."""
        for found in devices(cluster):
            measured = len(cluster.gpu_series(found.node.name).samples("DCGM_FI_DEV_GPU_TEMP"))
            felt = found.offered < found.held or found.kills or 0 < measured < found.held
            if found.off_the_bus and felt:
                yield cls(
                    subject=found.node.ref,
                    severity=found.severity(cluster),
                    evidence=found.evidence,
                    hurts=found.hurts(cluster),
                    certainty="proven" if OFF_THE_BUS in found.xids else "likely",
                    found=found,
                    measured=measured,
                )

    def summary(self) -> str:
        """Which node, and what it does."""
        died = f", {counted(len(self.found.deaths), 'pod')} died on it" if self.found.deaths else ""
        said = f" ({self.found.said})" if self.found.said else ""
        return (
            f"a GPU of {self.subject.name} has fallen off the bus{said}: "
            f"{self.found.offered} of {self.found.held} offered{died}"
        )

    def explain(self) -> list[str]:
        """From the bus to the pods."""
        return [
            "the driver lost the connection to the GPU hardware, which XID 79 says",
            "the node stays Ready, for the kubelet does not look at GPUs",
            "processes on that GPU end, and new ones that are given it fail at once",
        ]

    def advice(self) -> list[str]:
        """A reboot, then a look at the hardware."""
        node = self.subject.name
        return [
            f"`kubectl cordon {node}` and drain it, then power-cycle it: a GPU reset does not bring it back",
            "when it happens again: seat, power, cooling, and a replacement of the GPU",
        ]
