"""Which serving runtime KServe would take for a model: its selection, computed from the runtimes that exist.

Source: KServe 0.20 `predictor_model.go` and `components/predictor.go`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot

KINDS = ("ServingRuntime", "ClusterServingRuntime")
MODEL = "spec.predictor.model"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an InferenceService asks of a runtime; "" where it leaves the choice."""

    runtime: str
    format: str
    version: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.format} {self.version}".strip()


def asked_by(service: Object) -> Asked | None:
    """What an InferenceService asks of a runtime; None when it brings its own containers."""
    name = service.text(f"{MODEL}.modelFormat.name")
    version = service.table(f"{MODEL}.modelFormat").get("version")
    if not name:
        return None
    return Asked(
        runtime=service.text(f"{MODEL}.runtime"),
        format=name,
        version="" if version is None else str(version),
        protocol=service.text(f"{MODEL}.protocolVersion"),
    )


def runtimes_for(cluster: Snapshot, namespace: str) -> tuple[Object, ...]:
    """The runtimes a namespace can use: its own before the cluster's, which they hide by name."""
    own = cluster.all("ServingRuntime", namespace)
    hidden = {runtime.name for runtime in own}
    return (*own, *(r for r in cluster.all("ClusterServingRuntime") if r.name not in hidden))


def enabled(runtime: Object) -> bool:
    """Whether a runtime may be used, for single models."""
    return runtime.value("spec.disabled") is not True and runtime.value("spec.multiModel") is not True


def formats_of(runtime: Object, *, automatic: bool) -> Iterator[tuple[str, str]]:
    """The formats a runtime supports, name and version; `automatic`: those it may be chosen for by itself."""
    for entry in runtime.items("spec.supportedModelFormats"):
        if isinstance(entry, dict) and (not automatic or entry.get("autoSelect") is True):
            yield str(entry.get("name", "")), str(entry.get("version") or "")


def supports(runtime: Object, asked: Asked, *, automatic: bool) -> bool:
    """Whether a runtime takes a model of this format, version and protocol."""
    protocols: list[Any] = runtime.items("spec.protocolVersions")
    if asked.protocol and protocols and asked.protocol not in protocols:
        return False
    return any(
        name == asked.format and asked.version in ("", version)
        for name, version in formats_of(runtime, automatic=automatic)
    )
