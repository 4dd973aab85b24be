"""The embedding model makes vectors of another length than the collection holds, and all are refused.

What happens
A collection is made for vectors of one length. When one side changes its embedding model, the new vectors are
longer or shorter: every insert, or every search, is refused. Programs that make the collection anew to be
helpful lose all that was in it.

How it shows
`Vector dimension error: expected dim: 768, got 1024` (Qdrant), `expected 768 dimensions, not 1024`
(pgvector), `does not match collection dimensionality` (Chroma), `vector lengths don't match` (Weaviate), a
dimension mismatch of Milvus, Redis or OpenSearch, in logs of those who call.

When we stay silent
It was said once or twice; the one who says it has been told another model by now.

What we propose
The embedding model that all others around the same database use, where just one has another. Else advice: a
collection for each model and length.

Sources
RooCodeInc/Roo-Code#7348, mem0ai/mem0#3065, bug-ops/zeph#1815; error texts of Qdrant 1.16, pgvector 0.8,
Chroma 1.5, Weaviate 1.34, Milvus 2.6.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Fault, Layer, seen_log, seen_object
from tillerman.patterns.rag_composition.parts import Said, embedding_model, saying

MISMATCH = (
    r"(?i)dimension error: expected dim: (?P<a>\d+), got (?P<b>\d+)"
    r"|expected (?P<c>\d+) dimensions, not (?P<d>\d+)"
    r"|expecting embedding with dimension of (?P<e>\d+), got (?P<f>\d+)"
    r"|embedding dimension (?P<h>\d+) does not match collection dimensionality (?P<g>\d+)"
    r"|vector lengths don't match: (?P<i>\d+) vs (?P<j>\d+)"
    r"|vector has invalid dimension: (?P<l>\d+)\D+(?P<k>\d+)"
    r"|vector dimension mismatch|does not match index's expected size"
)
#: Once or twice is a trial of a new model, or a message of long ago.
REPEATED = 3


@dataclass(frozen=True, kw_only=True)
class EmbeddingDimensionMismatch(Fault):
    """One workload whose vectors its database refuses for their length."""

    layer = Layer.TRAFFIC

    said: Said
    holds: str
    got: str
    model: str
    variable: str
    others: str

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Workloads around a vector database whose vectors are refused."""
        for owner, said in saying(cluster, MISMATCH):
            if len(said.lines) < REPEATED or said.pod.ref.key in cluster.whatif:
                continue
            container = said.pod.container(said.container)
            named = embedding_model(cluster, said.pod, container) if container else None
            numbers = {k: v for k, v in said.found.groupdict().items() if v}
            line = said.lines[-1]
            yield cls(
                subject=owner,
                severity="warning",
                evidence=(
                    seen_log(said.pod.ref, said.container, line.number, line.text),
                    *((seen_object(said.pod.ref, f"env {named[0]}", named[1]),) if named else ()),
                ),
                hurts=(owner, said.pod.ref),
                said=said,
                holds=next((numbers[k] for k in "acegik" if k in numbers), ""),
                got=next((numbers[k] for k in "bdfhjl" if k in numbers), ""),
                model=named[1] if named else "",
                variable=named[0] if named else "",
                others=_others(cluster, said, named[1]) if named else "",
            )

    def summary(self) -> str:
        """Both lengths, and the model that makes the wrong one."""
        sizes = f"{self.got}, the collection holds {self.holds}" if self.got else "another length"
        model = f" with the embedding model {self.model}" if self.model else ""
        others = f"; the others use {self.others}" if self.others else ""
        refused = f"{len(self.said.lines)} requests refused"
        return f"`{self.said.container}`{model} sends vectors of {sizes}: {refused}{others}"

    def explain(self) -> list[str]:
        """From the model to the refusal."""
        made = f"`{self.said.container}` makes vectors of {self.got or 'another'} numbers"
        return [
            f"the collection was made for vectors of {self.holds or 'so many'} numbers",
            made + (f" with {self.model}" if self.model else ""),
            f"the database refuses them: {self.said.lines[-1].text[:200]}",
            "so nothing it writes is kept, and nothing it asks is found",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The model that the others use, where this one's is set."""
        place = cluster.place_of(self.said.pod, self.said.container)
        if not self.others or place is None:
            return []
        for at, entry in enumerate(place.target.items(f"{place.container}.env")):
            if isinstance(entry, dict) and entry.get("name") == self.variable and "value" in entry:
                why = f"what is in the collection was made with {self.others}"
                change = cluster.edit(
                    self.said.pod, self.said.container, f"env[{at}].value", self.others, why
                )
                return [change] if change else []
        return []

    def advice(self) -> list[str]:
        """One collection for each model."""
        return [
            "name collections after model and length, fill a new one by a Job, then switch to it",
            "never let a program drop a collection because its length differs",
        ]


def _others(cluster: Snapshot, said: Said, mine: str) -> str:
    """The embedding model of all other workloads of the namespace, when they agree on another than ours."""
    names: Counter[str] = Counter()
    for pod in cluster.pods_in(said.pod.namespace):
        for container in pod.spec.containers:
            named = embedding_model(cluster, pod, container)
            if named and cluster.owner_of(pod) != cluster.owner_of(said.pod):
                names[named[1]] += 1
    return next(iter(names)) if len(names) == 1 and mine not in names else ""
