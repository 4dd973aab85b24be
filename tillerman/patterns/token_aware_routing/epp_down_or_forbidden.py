"""An endpoint picker does not get ready: it may not read what it watches, or its pool is not there.

What happens
The picker (EPP) watches its InferencePool, its objectives and the pods. Where its service account may not
list one of them, where `--pool-name` names another pool, or where its configuration names a plugin that it
does not have, it ends or never reports ready. With FailClose every request then fails; with FailOpen the
gateway picks at random.

How it shows
Pods of the picker that crash-loop or are not ready; `cannot list resource ... in API group ...`; `Pool is not
initialized`; an error about its configuration. Or plain arithmetic: no pool has the name in its arguments,
while one refers to its Service.

When we stay silent
It is ready, or was restarted long ago and is well; what its log says is refused is allowed by now; the pool
it names exists; nothing it printed is recognised.

What we propose
The missing rule in the role it is bound to; its service account in a binding that has the rule; the account
that has one, in its pod; the pool's name, namespace or group in its arguments; a plugin's new name.

Sources
Gateway API Inference Extension troubleshooting guide; llm-d/llm-d-benchmark#775; hivecommons/hive#2341; llm-d
router 0.10 manifests and flags.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.life import Trouble
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Fault, Layer, Severity, seen_object
from tillerman.patterns.token_aware_routing.picker_causes import Cause, cause_of
from tillerman.patterns.token_aware_routing.pools import Pool, is_picker, pickers_of, pools, routes_to

#: A picker is ready within seconds of its start: readiness waits 30 s in KServe's preset.
STARTING_S = 300


@dataclass(frozen=True, kw_only=True)
class EppDownOrForbidden(Fault):
    """One endpoint picker that does not serve, and why."""

    layer = Layer.CONTROL

    pod: Pod
    cause: Cause
    closes: bool
    ready: int
    pods: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Pickers with a cause that is recognised, by their owner."""
        owners: dict[Ref, list[Pod]] = {}
        for pod in cluster.pods:
            if not pod.finished and is_picker(pod):
                owners.setdefault(cluster.owner_of(pod), []).append(pod)
        for owner, pods in owners.items():
            ill = next((pod for pod in pods if _ill(cluster, pod)), None)
            cause = cause_of(cluster, ill or pods[0], down=ill is not None)
            if cause:
                served = _served(cluster, pods)
                ready = sum(pod.ready for pod in pods)
                yield cls(
                    subject=cause.subject,
                    severity=_severity(served, ready),
                    evidence=(
                        *cause.evidence,
                        *(
                            seen_object(
                                p.ref,
                                "spec.endpointPickerRef.failureMode",
                                "FailClose" if p.closes else "FailOpen",
                            )
                            for p in served[:1]
                        ),
                    ),
                    hurts=_hurt(cluster, owner, pods, served),
                    pod=ill or pods[0],
                    cause=cause,
                    closes=any(pool.closes for pool in served),
                    ready=ready,
                    pods=len(pods),
                )

    def summary(self) -> str:
        """Why, and how many of its pods serve."""
        return f"the endpoint picker {self.cause.said}; {self.ready} of {self.pods} pods ready"

    def explain(self) -> list[str]:
        """From the cause to the requests."""
        effect = "so requests to its pool fail with 503 (FailClose)"
        if not self.closes:
            effect = "so the gateway chooses replicas at random (FailOpen): no queue, cache or prefix counts"
        return [*self.cause.because, "the picker does not become ready without it", effect]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """What the cause asks for."""
        return [self.cause.change] if self.cause.change else []

    def advice(self) -> list[str]:
        """What a person does."""
        return list(self.cause.advice)


def _ill(cluster: Snapshot, pod: Pod) -> bool:
    """Whether a picker fails, or has not got ready in far more time than it takes."""
    trouble: Trouble | None = cluster.trouble(pod)
    if trouble is None or trouble.kind in ("gated", "unschedulable", "image", "evicted", "rejected"):
        return False
    return trouble.failing or cluster.standing_s(pod) >= STARTING_S


def _served(cluster: Snapshot, pods: list[Pod]) -> list[Pool]:
    """The pools whose reference leads to these pods."""
    keys = {pod.ref.key for pod in pods}
    return [p for p in pools(cluster) if any(pod.ref.key in keys for pod in pickers_of(cluster, p))]


def _severity(served: list[Pool], ready: int) -> Severity:
    return "critical" if not ready and any(pool.closes for pool in served) else "warning"


def _hurt(cluster: Snapshot, owner: Ref, pods: list[Pod], served: list[Pool]) -> tuple[Ref, ...]:
    """The picker and its pods, its pools and the routes that lead to them."""
    found = [owner, *(pod.ref for pod in pods if not pod.ready)]
    for pool in served:
        routes = routes_to(cluster, pool.pool.namespace, "InferencePool", {pool.pool.name})
        found += [pool.ref, *(route.ref for route in routes)]
    return tuple(dict.fromkeys(found))
