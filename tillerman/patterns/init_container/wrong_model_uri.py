"""The model is not where the service says: a wrong name, form, path or claim, or a cache without it.

What happens
A model is found by a URI, a path or a claim, and nothing checks it before the pod runs. A missing owner in
`hf://`, a folder that was renamed, a claim of another name, an offline flag without a filled cache, a cache
folder that this user may not write: the step that looks for the model ends, and is started again for ever.

How it shows
`Invalid Hugging Face URI format`, `Cannot recognize storage type`, `Cannot locate source uri ... for PVC`,
`Repository Not Found` (with a token, or 404), `Invalid repository ID or local directory`, `Cannot find any
model weights`, `outgoing traffic has been disabled`, `Permission denied: '/.cache'` in the log;
`persistentvolumeclaim "..." not found` from the scheduler; `failed to prepare subPath` from the kubelet;
`unsupported schema in model URI` in a condition.

When we stay silent
The model was found since; the hub did not know who asked (a private model looks the same then); the claim
exists by now, or is that of a download cache.

What we propose
The right URI, path or claim where it can be told: by the form, or because objects of the cluster name just
one like it; `HOME=/tmp` for a cache folder that nobody may write; the mounted cache for an offline server.
Else advice.

Sources
kserve/kserve#4310, #1939, #3942; vllm-project/vllm#13510, #13724, #20127;
huggingface/inference-benchmarker#47; vLLM 0.32, captured.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.downloads import severity_of
from tillerman.patterns.fault import Fault, Layer, Severity, outage
from tillerman.patterns.init_container.uri_repairs import Repair, repair
from tillerman.patterns.init_container.wrong_uris import Missing, missing_models, pods_hurt, sought_now

#: What each kind of mistake means, in a sentence with what is looked for.
_MEANS = {
    "form": "{} is not of the form `hf://owner/model[:revision]`",
    "scheme": "{} has no scheme that the storage initializer knows",
    "schema": "{} has no scheme that KServe knows",
    "claim-path": "the folder of {} is not on the claim",
    "subpath": "the folder {} is not on the claim, or its volume does not answer",
    "empty": "there is nothing at {}",
    "offline": "{} is not in its cache, and it may not ask the hub",
    "cache": "{} cannot be written by the user it runs as",
    "revision": "the revision of {} does not exist",
    "repository": "the repository {} does not exist",
    "path": "{} is no model: no folder with a config.json",
    "weights": "there are no weights at {}",
    "claim": "the claim {} does not exist",
}
#: Kinds whose text leaves room for another cause.
_LIKELY = ("subpath", "empty", "weights")


@dataclass(frozen=True, kw_only=True)
class WrongModelUri(Fault):
    """Pods of one owner that look for their model where it is not."""

    layer = Layer.STAGING

    missing: Missing
    sought: str
    pods: int
    repair: Repair | None

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose model is not where they look."""
        groups: dict[object, list[Missing]] = {}
        for one in missing_models(cluster):
            groups.setdefault(one.owner, []).append(one)
        for found in groups.values():
            one = found[0]
            hurts = dict.fromkeys(ref for m in found for ref in pods_hurt(cluster, m))
            yield cls(
                subject=one.owner,
                severity=_severity(cluster, one),
                evidence=one.evidence,
                hurts=tuple(hurts),
                certainty="likely" if one.kind in _LIKELY else "proven",
                missing=one,
                sought=one.sought or sought_now(cluster, one),
                pods=len(found),
                repair=repair(cluster, one),
            )

    def summary(self) -> str:
        """What is looked for, and what is wrong with it."""
        who = f"`{self.missing.container}` of {counted(self.pods, 'pod')}: " if self.missing.container else ""
        meant = f"; meant is {self.repair.meant}" if self.repair else ""
        return f"{who}{self._means()}{meant}"

    def _means(self) -> str:
        return _MEANS[self.missing.kind].format(f"`{self.sought}`" if self.sought else "the model")

    def explain(self) -> list[str]:
        """From the name to the server that never starts."""
        return [
            self._means(),
            f"so what looks for it says: {self.missing.said[:240]}",
            *([self.repair.because] if self.repair else []),
            "without its model nothing starts, and it looks again in the same place",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """What was meant, where it can be told."""
        return [self.repair.change] if self.repair else []

    def advice(self) -> list[str]:
        """How to find out where the model is."""
        pod, kind = self.missing.pod, self.missing.kind
        space = pod.namespace if pod else self.subject.namespace
        if kind == "claim":
            return [
                f"`kubectl -n {space} get pvc` lists the claims; one of another namespace cannot be mounted"
            ]
        if kind in ("claim-path", "subpath", "path", "weights", "empty"):
            return [
                f"a pod that mounts the same volume and runs `ls -R` shows what is there (namespace {space})",
                "the folder must hold config.json and the weights themselves, no links out of it",
            ]
        if kind == "offline":
            return ["fill the cache once with `hf download` into the mounted HF_HOME, or allow the hub"]
        if kind == "cache":
            return ["HOME, HF_HOME and VLLM_CACHE_ROOT must lie where the user may write: an emptyDir, /tmp"]
        return [f"look the name up on its page: owner, spelling and revision of `{self.sought}`"]


def _severity(cluster: Snapshot, one: Missing) -> Severity:
    if one.download:
        return severity_of(cluster, [one.download])
    return outage(cluster, one.owner) if cluster.pods_of(one.owner) else "critical"
