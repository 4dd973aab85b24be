"""What is known of the GPUs of a node: their last XIDs, their memory's repairs, what died on them.

Shared by the faults that blame a node's hardware. Source: NVIDIA XID catalogue r580, DCGM 4.8 field ids.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tillerman.cluster.life import last_end
from tillerman.cluster.logs import Line
from tillerman.cluster.metrics import Series
from tillerman.cluster.model import Node, Pod, Ref
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.daemon_service.parts import JOINING_S
from tillerman.patterns.fault import (
    Evidence,
    Severity,
    outage,
    seen_event,
    seen_log,
    seen_metric,
    seen_object,
)

#: Errors of an application's own making: the GPU is fine. Source: device plugin 0.20, skipped by default.
APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
#: Errors of the hardware, and what they mean; others are left to a person.
HARDWARE_XIDS = {
    48: "double-bit memory error",
    63: "memory row remapped",
    64: "memory row remapping failed",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    92: "many single-bit memory errors",
    94: "contained memory (ECC) error",
    95: "uncontained memory (ECC) error",
    119: "GSP timeout",
    120: "GSP error",
    140: "unrecovered memory (ECC) error",
}
#: A process that died of the hardware says so in these words. Source: CUDA 13 error strings.
HARDWARE_WORDS = (
    r"uncorrectable ECC error|ECCUncorrectable|ECC_UNCORRECTABLE"
    r"|uncorrectable NVLink error|NvlinkUncorrectable"
    r"|GPU is lost|GPU_IS_LOST|fallen off the bus|Unable to determine the device handle"
)
OFF_THE_BUS = 79
_LOST_WORDS = re.compile(r"(?i)lost|off the bus|device handle")
_MEANING = HARDWARE_XIDS | dict.fromkeys(APPLICATION_XIDS, "error of an application")
#: A death longer ago than this is history, whatever it was of.
RECENT_S = 86_400
_MARKED = re.compile(r"XidCriticalError: Xid=(\d+)(?: on Device=([\w-]+))?.*unhealthy")
_KERNEL = re.compile(r"Xid(?: \([^)]*\))?\D{0,3}(\d+)")


class Death(NamedTuple):
    """A container that died of the hardware: pod, name, the line that says so, whether it fails now."""

    pod: Pod
    container: str
    line: Line
    failing: bool


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The GPUs of one node: how many it holds and offers, their errors by XID, and what died of them.

    `worn` are GPUs whose memory can no longer be repaired, by their number.
    """

    node: Node
    held: int
    offered: int
    xids: tuple[int, ...]
    worn: tuple[str, ...]
    deaths: tuple[Death, ...]
    waiting: tuple[Pod, ...]
    evidence: tuple[Evidence, ...]

    @property
    def off_the_bus(self) -> bool:
        """Whether a GPU cannot be reached any more, by its XID or by what died of it."""
        told = any(_LOST_WORDS.search(death.line.text) for death in self.deaths)
        return OFF_THE_BUS in self.xids or told

    @property
    def kills(self) -> bool:
        """Whether processes die on these GPUs now, not just once and long ago."""
        return any(death.failing for death in self.deaths) or len(self.deaths) > 1

    @property
    def said(self) -> str:
        """The errors in words: `XID 94, contained memory (ECC) error`."""
        named = [f"XID {xid}, {_MEANING.get(xid, 'unknown')}" for xid in self.xids]
        worn = [f"row remap failure on GPU {', '.join(self.worn)}"] if self.worn else []
        return "; ".join([*named, *worn])

    def hurts(self, cluster: Snapshot) -> tuple[Ref, ...]:
        """The node, what dies there, what waits for it, and the owners of both."""
        pods = dict.fromkeys(pod.ref for pod in (*(death.pod for death in self.deaths), *self.waiting))
        return (self.node.ref, *pods, *self._owners(cluster))

    def severity(self, cluster: Snapshot) -> Severity:
        """Critical when something has nobody left to serve because of it."""
        found = any(outage(cluster, owner) == "critical" for owner in self._owners(cluster))
        return "critical" if found else "warning"

    def _owners(self, cluster: Snapshot) -> dict[Ref, None]:
        pods = (*(death.pod for death in self.deaths), *self.waiting)
        return dict.fromkeys(cluster.owner_of(pod) for pod in pods)


def devices(cluster: Snapshot) -> Iterator[Devices]:
    """The GPUs of each node that is in use, in the nodes' order."""
    for node in cluster.gpu_nodes:
        old = cluster.standing_s(node) >= JOINING_S
        if old and node.ready and not node.spec.unschedulable:
            yield _devices(cluster, node)


def _devices(cluster: Snapshot, node: Node) -> Devices:
    held, offered = sum(cluster.gpus_in(node).values()), sum(cluster.allocatable_gpus(node).values())
    series = cluster.gpu_series(node.name)
    found = [*_marked(cluster, node), *_kernel(cluster, node), *_exported(series, node)]
    worn = [s.labels.get("gpu", "") for s in series.samples("DCGM_FI_DEV_ROW_REMAP_FAILURE") if s.value]
    remap = [seen_metric(node.name, f"DCGM_FI_DEV_ROW_REMAP_FAILURE gpu {gpu}", 1.0) for gpu in worn]
    deaths = tuple(_deaths(cluster, node))
    died = [seen_log(d.pod.ref, d.container, d.line.number, d.line.text) for d in deaths[:4]]
    counts = seen_object(node.ref, "status.allocatable", f"{offered} of {held} GPUs")
    lost = 0 < offered < held
    return Devices(
        node=node,
        held=held,
        offered=offered,
        xids=tuple(dict.fromkeys(xid for xid, _ in found)),
        worn=tuple(worn),
        deaths=deaths,
        waiting=cluster.waiting_for([node]) if offered < held else (),
        evidence=(*([counts] if lost else []), *(seen for _, seen in found[:6]), *remap, *died),
    )


def _marked(cluster: Snapshot, node: Node) -> Iterator[tuple[int, Evidence]]:
    """The devices that the plugin's log calls unhealthy."""
    plugin = cluster.stack_pod_on("device-plugin", node)
    if plugin is None:
        return
    for container in plugin.spec.containers:
        log = cluster.log(plugin, container.name)
        for line, found in log.find(_MARKED.pattern) if log else ():
            yield int(found[1]), seen_log(plugin.ref, container.name, line.number, line.text)


def _kernel(cluster: Snapshot, node: Node) -> Iterator[tuple[int, Evidence]]:
    """The XIDs in a node's events and conditions, which problem detectors write."""
    for event in cluster.events_about(node.ref):
        if found := _KERNEL.search(event.text):
            yield int(found[1]), seen_event(node.ref, event)
    for condition in node.status.conditions:
        found = _KERNEL.search(condition.message)
        if found and condition.status == "True" and condition.type != "Ready":
            path = f"status.conditions[{condition.type}].message"
            yield int(found[1]), seen_object(node.ref, path, condition.message)


def _exported(series: Series, node: Node) -> Iterator[tuple[int, Evidence]]:
    """The last XID of each GPU; the gauge keeps it for as long as the exporter runs."""
    for sample in series.samples("DCGM_FI_DEV_XID_ERRORS"):
        if sample.value and int(sample.value) not in APPLICATION_XIDS:
            name = f"DCGM_FI_DEV_XID_ERRORS gpu {sample.labels.get('gpu', '')}"
            yield int(sample.value), seen_metric(node.name, name, float(sample.value))


def _deaths(cluster: Snapshot, node: Node) -> Iterator[Death]:
    """The containers on a node that lately died of the hardware, by their own last words."""
    for pod in cluster.pods_on(node.name):
        trouble = cluster.trouble(pod)
        for status in pod.status.container_statuses:
            end = last_end(status)
            ago = cluster.age_s(end.finished_at) if end else None
            if end is None or not end.exit_code or (ago or 0.0) > RECENT_S:
                continue
            log = cluster.last_words(pod, status.name)
            found = log.first(HARDWARE_WORDS) if log else None
            if found:
                failing = trouble is not None and trouble.failing
                yield Death(pod=pod, container=status.name, line=found[0], failing=failing)
