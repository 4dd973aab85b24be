"""A GPU of a node is marked unhealthy: the node offers fewer GPUs than it holds, until somebody acts.

What happens
The device plugin listens for XID errors and takes a GPU that has a critical one out of `allocatable`. It
never puts it back by itself: the GPU stays out until the plugin's pod restarts, even when the cause has
gone.

How it shows
`allocatable` below `capacity` on a Ready node; `XidCriticalError: Xid=N on Device=GPU-..., marking device as
unhealthy` in the plugin's log; the XID in DCGM's series; pods Pending that would fit.

When we stay silent
All GPUs are missing (the plugin is down) or none; the node is cordoned, not Ready or new; its MIG layout is
being changed, its plugin is starting; the GPU has fallen off the bus (a fault of its own).

What we propose
Nothing that configuration can do: advice by XID, for memory errors a reset and maybe a replacement, for
errors of an application a restart of the plugin.

Sources
NVIDIA/k8s-device-plugin#234, #1340; NVIDIA/gpu-operator#945, #1065; device plugin 0.20 `health.go`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.daemon_service.devices import APPLICATION_XIDS, Devices, devices
from tillerman.patterns.fault import Fault, Layer

_MIG_STATE = "nvidia.com/mig.config.state"


@dataclass(frozen=True, kw_only=True)
class XidUnhealthyDevice(Fault):
    """A node that offers some of its GPUs, but not all."""

    layer = Layer.HARDWARE

    found: Devices

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Nodes with fewer allocatable GPUs than they hold."""
        for found in devices(cluster):
            changing = found.node.labels.get(_MIG_STATE, "success") not in ("success", "failed")
            plugin = cluster.stack_pod_on("device-plugin", found.node)
            settled = not changing and (plugin is None or plugin.ready)
            if 0 < found.offered < found.held and settled and not found.off_the_bus:
                yield cls(
                    subject=found.node.ref,
                    severity=found.severity(cluster),
                    evidence=found.evidence,
                    hurts=found.hurts(cluster),
                    certainty="proven" if found.xids or found.worn else "likely",
                    found=found,
                )

    def summary(self) -> str:
        """How many GPUs, and why as far as it is known."""
        lost = counted(self.found.held - self.found.offered, "GPU")
        why = f": {self.found.said}" if self.found.said else ", no XID seen"
        waits = f"; {counted(len(self.found.waiting), 'pod')} waiting for it" if self.found.waiting else ""
        return f"{lost} of {self.found.held} on {self.subject.name} marked unhealthy{why}{waits}"

    def explain(self) -> list[str]:
        """From the error to the missing GPU."""
        first = (
            f"the device plugin saw {self.found.said}"
            if self.found.said
            else "the device plugin saw an error"
        )
        return [
            f"{first} and took the GPU out of what the node offers",
            "it does not put a GPU back by itself: only a restart of its pod counts them anew",
            f"the node offers {self.found.offered} of its {counted(self.found.held, 'GPU')}",
        ]

    def advice(self) -> list[str]:
        """What to do depends on the error."""
        node = self.subject.name
        restart = "delete the device plugin's pod on the node: it registers every GPU that is healthy again"
        if self.found.xids and set(self.found.xids) <= APPLICATION_XIDS:
            return [restart, "`DP_DISABLE_HEALTHCHECKS` lists XIDs of applications that a GPU shall survive"]
        return [
            f"`kubectl cordon {node}`, drain it, reset the GPU (`nvidia-smi --gpu-reset`) or reboot",
            "replace the GPU when the error comes back or a row remap failed",
            restart,
        ]
