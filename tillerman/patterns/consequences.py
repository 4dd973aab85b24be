"""What findings lead to: services whose pods wait or fail because of a cause that lies elsewhere."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tillerman.cluster.model import Pod
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Fault, Layer, outage, seen_object

#: Owners that serve or run something a person asks for; a ReplicaSet or a Node is no such thing.
_SERVICES = (
    "InferenceService",
    "LLMInferenceService",
    "Deployment",
    "StatefulSet",
    "LeaderWorkerSet",
    "Job",
    "CronJob",
)


@dataclass(frozen=True, kw_only=True)
class Consequence(Fault):
    """One owner whose pods are hurt by a fault that is not its own."""

    layer = Layer.UNKNOWN
    fault = "service-affected"
    pattern = "managed-lifecycle"

    state: str
    pods: int
    ready: int

    def summary(self) -> str:
        """How many of its pods, and in which state."""
        return f"{self.pods} pod{'s' if self.pods > 1 else ''} {self.state}, {self.ready} ready"

    def explain(self) -> list[str]:
        """That the cause lies elsewhere."""
        return ["its pods are as they are because of the finding that explains this one", self.summary()]


def consequences(cluster: Snapshot, found: Iterable[Fault]) -> Iterator[Consequence]:
    """Owners that a finding hurts and that no finding is about, by the finding's order."""
    listed = tuple(found)
    named = {fault.subject.key for fault in listed}
    for fault in listed:
        hurt = {ref.key for ref in fault.hurts}
        for owner in fault.hurts:
            if owner.kind not in _SERVICES or owner.key in named or fault.severity == "info":
                continue
            pods = [pod for pod in cluster.pods_of(owner) if pod.ref.key in hurt and not pod.ready]
            if pods:
                named.add(owner.key)
                yield Consequence(
                    subject=owner,
                    severity=outage(cluster, owner),
                    evidence=(seen_object(pods[0].ref, "status.phase", pods[0].status.phase),),
                    hurts=tuple(pod.ref for pod in pods),
                    state=_state(cluster, pods[0]),
                    pods=len(pods),
                    ready=sum(pod.ready for pod in cluster.pods_of(owner)),
                )


def _state(cluster: Snapshot, pod: Pod) -> str:
    trouble = cluster.trouble(pod)
    return trouble.kind if trouble else "not ready"
