"""The orchestrator forgot which vector stores it had registered, because it kept them in its own pod.

What happens
RAG servers register their collections under names or ids of their own, by default in a SQLite file beside the
program. When the pod is made anew the file is gone: the database still holds every vector, and nobody knows
under which name.

How it shows
`VectorStoreNotFoundError`, `Vector Store '...' not found`, `vector_db ... not found` in the logs of a server
whose pod is younger than its workload, or whose container was restarted, and that mounts no lasting volume;
the vector database is well.

When we stay silent
The pod is its workload's first, or mounts a volume that lasts; it was said once or twice.

What we propose
Nothing: advice. The registry belongs into PostgreSQL or on a volume, and stores are registered at start.

Sources
ogx-ai/ogx#5209, ogx-ai/ogx#5954; Llama Stack 0.3 registry and SQLite stores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.quantity import duration
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Fault, Layer, seen_log, seen_object
from tillerman.patterns.rag_composition.parts import Said, saying
from tillerman.patterns.stateful_service.stores import anew_s

LOST = (
    r"VectorStoreNotFoundError"
    r"|(?i:vector[ _]?(?:store|db)\b\W{0,3}[\w.-]+\W{0,3}(?:is )?not (?:found|registered))"
)
#: A client that asks for a store before it registers it says so once or twice.
REPEATED = 3
_LASTING = ("persistentVolumeClaim", "hostPath", "nfs", "csi")


@dataclass(frozen=True, kw_only=True)
class VectorRegistryLost(Fault):
    """One server that lost its registrations with its pod."""

    layer = Layer.TRAFFIC

    said: Said
    since_s: float

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Servers around a vector database that miss stores since their pod was made anew."""
        for owner, said in saying(cluster, LOST):
            since = anew_s(cluster, said.pod, said.container)
            lasting = any(kind in volume for volume in said.pod.spec.volumes for kind in _LASTING)
            if len(said.lines) < REPEATED or since is None or lasting:
                continue
            line = said.lines[-1]
            yield cls(
                subject=owner,
                severity="warning",
                evidence=(
                    seen_log(said.pod.ref, said.container, line.number, line.text),
                    seen_object(said.pod.ref, "spec.volumes", "no lasting volume"),
                ),
                hurts=(owner, said.pod.ref),
                certainty="likely",
                said=said,
                since_s=since,
            )

    def summary(self) -> str:
        """What is missed since when."""
        return (
            f"`{self.said.container}` was made anew {duration(self.since_s)} ago without a lasting volume, "
            f"and misses the vector stores it had registered: {len(self.said.lines)} requests failed"
        )

    def explain(self) -> list[str]:
        """From the file in the pod to the unknown store."""
        return [
            f"`{self.said.container}` keeps the registry of its vector stores inside its own pod",
            f"the pod was made anew {duration(self.since_s)} ago, and the registry with it",
            f"the vectors are there, under ids it no longer knows: {self.said.lines[-1].text[:160]}",
        ]

    def advice(self) -> list[str]:
        """Where a registry belongs."""
        return [
            "keep the registry in PostgreSQL, or its SQLite folder on a claim",
            "register the stores at start, from configuration, with the ids that the database holds",
        ]
