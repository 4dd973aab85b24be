"""The servers of one multi-node group cannot find each other, so the engine never starts.

What happens
An engine over several nodes starts only when all its processes have met: over the interface that NCCL and
Gloo choose or are told, at an address that all can reach, with one release everywhere. Where one pod of the
group differs, the others wait until a timeout, the group is made anew, and it begins again.

How it shows
`no socket interface found`, `Unable to find address for`, `Watchdog caught collective operation timeout`
or clients that do not join, in a group of a LeaderWorkerSet that does not get ready; and leader and workers
that differ in their image or in the interface they are told.

When we stay silent
The group completed its start since; a pod of it waits for a node, an image or its weights (another fault);
all its pods are alike.

What we propose
The value of the pods that do not complain, at the template of those that do.

Sources
vllm-project/vllm#7699, #8447, #18831, #31010; NCCL environment variables; LeaderWorkerSet 0.10.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.boot import boot_of
from tillerman.cluster.change import Change
from tillerman.cluster.logs import Line
from tillerman.cluster.model import Ref
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.disaggregated_serving.transport import with_variable
from tillerman.patterns.fault import Fault, Layer, outage, seen_log, seen_object

_GROUP = "leaderworkerset.sigs.k8s.io/group-index"
_NAME = "leaderworkerset.sigs.k8s.io/name"
#: Lines of a start that waits for its peers in vain. Sources: NCCL, Gloo, PyTorch, as vLLM 0.32 prints them.
_APART = (
    r"no socket interface found|Unable to find (?:address|interface)"
    r"|Watchdog caught collective operation timeout|Timed out after \d+ seconds waiting for clients"
    r"|NCCL WARN.*(?:[Cc]onnect|socket)"
)
#: What all pods of a group have to be told alike.
_VARIABLES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")
#: Troubles of a pod that explain by themselves why the others wait for it.
_ABSENT = ("unschedulable", "gated", "image", "config", "creating", "init-failing", "init-running", "evicted")


@dataclass(frozen=True, kw_only=True)
class NcclHangMultinode(Fault):
    """The pods of one owner that cannot meet, and what one of them is told otherwise than the rest."""

    layer = Layer.ENGINE

    wrong: Server
    name: str
    had: str
    others: str
    line: Line

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Groups whose start fails for want of a meeting, and whose pods differ; one for each owner."""
        groups: dict[tuple[Ref, str], list[Server]] = {}
        for server in cluster.servers:
            if server.pod.labels.get(_NAME):
                key = (cluster.owner_of(server.pod), server.pod.labels.get(_GROUP, ""))
                groups.setdefault(key, []).append(server)
        seen: set[Ref] = set()
        for (owner, _), servers in groups.items():
            said = _said(cluster, servers) if owner not in seen else None
            odd = _odd(servers, said[0]) if said else None
            if said and odd:
                seen.add(owner)
                wrong, name, had, others = odd
                line = said[1]
                yield cls(
                    subject=owner,
                    severity=outage(cluster, owner),
                    evidence=(
                        seen_log(said[0].pod.ref, said[0].container.name, line.number, line.text),
                        seen_object(wrong.pod.ref, f"spec.containers[{wrong.container.name}] {name}", had),
                    ),
                    hurts=(owner, *(s.pod.ref for s in servers if not s.pod.ready)),
                    wrong=wrong,
                    name=name,
                    had=had,
                    others=others,
                    line=line,
                )

    def summary(self) -> str:
        """What one pod is told, and the others."""
        return (
            f"`{self.wrong.pod.name}` has {self.name} `{self.had}`, the rest of its group `{self.others}`:"
            f" {self.line.text.strip()[-120:]}"
        )

    def explain(self) -> list[str]:
        """From the difference to the restart."""
        return [
            f"{self.name} is `{self.had}` in {self.wrong.pod.name}, `{self.others}` in the pods it must meet",
            "so the processes of the group do not find each other within their timeout",
            "the engine ends, the whole group starts again, and nothing serves meanwhile",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """What the rest of the group has."""
        why = f"the other pods of the group have {self.name} {self.others}"
        if self.name == "image":
            change = cluster.edit(self.wrong.pod, self.wrong.container.name, "image", self.others, why)
        else:
            entry = (
                {"name": self.name} if self.others == "not set" else {"name": self.name, "value": self.others}
            )
            change = with_variable(cluster, self.wrong, entry, why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """How to see what they choose."""
        pod = self.wrong.pod
        return [
            "`NCCL_DEBUG=INFO` on all pods prints the interface and the address that each one chose",
            f"`kubectl -n {pod.namespace} exec {pod.name} -- ip -br addr` lists the interfaces there are",
        ]


def _said(cluster: Snapshot, servers: list[Server]) -> tuple[Server, Line] | None:
    """The pod that tells of a start without its peers, and the line; None when the group is incomplete."""
    troubles = [cluster.trouble(server.pod) for server in servers]
    if not any(troubles) or any(trouble and trouble.kind in _ABSENT for trouble in troubles):
        return None
    for server in servers:
        log = cluster.last_words(server.pod, server.container.name)
        found = log.first(_APART) if log else None
        boot = boot_of(log, cluster.now)
        if found and not (boot and boot.complete):
            return server, found[0]
    return None


def _odd(servers: list[Server], complaining: Server) -> tuple[Server, str, str, str] | None:
    """A pod that differs from the rest of its group: the pod, in what, its value and theirs.

    Of two values the rarer one is wrong; of two pods the one that complains.
    """
    for name in ("image", *_VARIABLES):
        values = [s.container.image if name == "image" else s.env.get(name, "not set") for s in servers]
        if len(set(values)) != 2:  # noqa: PLR2004 - alike, or without any order
            continue
        own = values[servers.index(complaining)]
        counts = {value: values.count(value) for value in values}
        wrong = own if len(set(counts.values())) == 1 else min(counts, key=lambda v: counts[v])
        other = next(value for value in values if value != wrong)
        return servers[values.index(wrong)], name, wrong, other
    return None
