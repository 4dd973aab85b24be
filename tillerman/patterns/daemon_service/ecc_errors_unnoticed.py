"""A GPU has uncorrectable memory errors and nobody notices: it is handed out, and what runs on it dies.

What happens
ECC finds memory errors and, when it cannot correct them, ends the process (XID 48, 94, 95). With the device
plugin's health checks off, or an error they do not take as critical, the GPU stays in `allocatable`: pods
die there again and again, while their siblings on other GPUs are fine.

How it shows
`uncorrectable ECC error encountered` in the last words of pods on one node; `DCGM_FI_DEV_ROW_REMAP_FAILURE`
1; double-bit error counters that grow; every GPU offered.

When we stay silent
A single death that was recovered from; remapped rows without a failure, and counters that do not move
(memory repairs itself); XIDs of applications (13, 31, 43, 45, 68, 109); GPUs that are marked unhealthy
already.

What we propose
Nothing that configuration can do: cordon, reset, replace; and turn the health checks and ECC series on.

Sources
NVIDIA/k8s-device-plugin#243, #267; DCGM 4.8 field ids; NVIDIA GPU memory error management r580.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.model import Node
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.daemon_service.devices import Devices, devices
from tillerman.patterns.fault import Fault, Layer, seen_metric, seen_object

_COUNTER = "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"
_OFF = "DP_DISABLE_HEALTHCHECKS"


@dataclass(frozen=True, kw_only=True)
class EccErrorsUnnoticed(Fault):
    """A node with broken GPU memory that is offered all the same."""

    layer = Layer.HARDWARE

    found: Devices
    growth: float
    checks_off: str

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Nodes whose GPUs kill processes by memory errors, or cannot repair their memory."""
        for found in devices(cluster):
            growth = cluster.gpu_series(found.node.name).increase(_COUNTER) or 0.0
            broken = found.worn or growth or found.kills
            if found.offered != found.held or not broken or found.off_the_bus:
                continue
            off = _checks_off(cluster, found.node)
            evidence = list(found.evidence)
            if growth:
                evidence.append(seen_metric(found.node.name, _COUNTER, f"grew by {growth:g}"))
            if off:
                evidence.append(seen_object(found.node.ref, f"device plugin env {_OFF}", off))
            yield cls(
                subject=found.node.ref,
                severity=found.severity(cluster),
                evidence=tuple(evidence),
                hurts=found.hurts(cluster),
                found=found,
                growth=growth,
                checks_off=off,
            )

    def summary(self) -> str:
        """What the hardware says, and what died of it."""
        said = f": {self.found.said}" if self.found.said else ""
        died = f"; {counted(len(self.found.deaths), 'pod')} died of them" if self.found.deaths else ""
        return (
            f"uncorrectable GPU memory (ECC) errors on {self.subject.name}, which offers all GPUs{said}{died}"
        )

    def explain(self) -> list[str]:
        """From the memory to the restarts."""
        found = [f"GPU memory of {self.subject.name} has errors that ECC cannot correct"]
        if self.checks_off:
            found.append(
                f"the device plugin's health checks are off ({_OFF}={self.checks_off}), so the GPU stays"
            )
        found.append("pods that are given this GPU end with a CUDA error; on other GPUs they run")
        return found

    def advice(self) -> list[str]:
        """Away from the GPU first, then the GPU itself."""
        node = self.subject.name
        return [
            f"`kubectl cordon {node}`, drain it, then reset the GPU (`nvidia-smi --gpu-reset`) or reboot",
            "replace the GPU where a row remap failed: its memory cannot be repaired any more",
            f"let the device plugin take such GPUs out (`{_OFF}` without `all`), and export the ECC counters",
        ]


def _checks_off(cluster: Snapshot, node: Node) -> str:
    """What the device plugin on a node is told not to look at; "" for nothing."""
    plugin = cluster.stack_pod_on("device-plugin", node)
    env = (v for c in plugin.spec.containers for v in c.env) if plugin else ()
    return next((variable.value for variable in env if variable.name == _OFF), "")
