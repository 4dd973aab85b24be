"""KServe finds no runtime for an InferenceService, so it makes no pods and says so only in a status.

What happens
The container of a model comes from a ServingRuntime: named, or the first enabled one that supports the
model's format and version and may be chosen by itself. A name or format that none has, a disabled runtime, a
version it does not list: the service is InvalidSpec, and its Deployment is not made or not updated.

How it shows
`modelStatus.transitionStatus: InvalidSpec` with reason NoSupportingRuntime, RuntimeNotRecognized or
RuntimeDisabled; events `InternalError: no runtime found to support predictor with model type`; no pod.

When we stay silent
The runtimes that exist now would do (the status is older, or the next reconcile repairs it); the service is
stopped or brings its own containers; it is Ready and nothing says otherwise.

What we propose
A runtime that exists and supports the format; the format or version that is meant; the runtime enabled.

Sources
kserve/kserve#469, #3683; KServe 0.20 `components/predictor.go`, `predictor_model.go`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Literal, Self

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.controller.runtimes import (
    KINDS,
    MODEL,
    Asked,
    asked_by,
    enabled,
    formats_of,
    runtimes_for,
    supports,
)
from tillerman.patterns.fault import Evidence, Fault, Layer, seen_event, seen_object

_REASONS = ("NoSupportingRuntime", "RuntimeNotRecognized", "RuntimeDisabled")
_SAYS = re.compile(
    r"(?i)no (?:ServingRuntimes or ClusterServingRuntimes|runtime found)|runtime not found"
    r"|specified runtime .*(?:disabled|does not support)|Waiting for runtime to become available"
)
#: By this annotation KServe takes a service down on request.
_STOP = "serving.kserve.io/stop"
#: Two names this alike are one with a slip.
_ALIKE = 0.6

What = Literal["missing", "disabled", "unsupported", "unmatched"]


@dataclass(frozen=True, kw_only=True)
class RuntimeNotFoundOrAmbiguous(Fault):
    """An InferenceService, what it asks of a runtime, and why no runtime gives it."""

    layer = Layer.CONTROL

    asked: Asked
    what: What
    serves: bool
    known: tuple[str, ...]

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Services that say they have no runtime, and that none of the runtimes would serve."""
        for service in cluster.all("InferenceService"):
            asked, said = asked_by(service), _said(cluster, service)
            what = _what(cluster, service, asked) if asked and said else None
            if asked is None or what is None or service.annotations.get(_STOP) == "true":
                continue
            serves = any(pod.ready for pod in cluster.pods_of(service.ref))
            runtimes = runtimes_for(cluster, service.namespace)
            yield cls(
                subject=service.ref,
                severity="warning" if serves else "critical",
                evidence=said,
                hurts=(service.ref,),
                certainty="proven" if any(cluster.sees(kind) for kind in KINDS) else "likely",
                asked=asked,
                what=what,
                serves=serves,
                known=tuple(runtime.name for runtime in runtimes),
            )

    def summary(self) -> str:
        """What is asked for and not there."""
        asked = self.asked
        names = ", ".join(f"`{name}`" for name in self.known[:6]) or "none"
        has = f"; there is {names}"
        return {
            "missing": f"no serving runtime is called `{asked.runtime}`{has}",
            "disabled": f"the serving runtime `{asked.runtime}` is disabled",
            "unsupported": f"the serving runtime `{asked.runtime}` does not support the format `{asked}`",
            "unmatched": f"no enabled serving runtime supports the format `{asked}` by itself{has}",
        }[self.what]

    def explain(self) -> list[str]:
        """From the runtime to the missing pods."""
        effect = "the last good version still serves" if self.serves else "there is no pod to serve"
        return [
            self.summary(),
            "without a runtime the controller has no container for the model and stops there (InvalidSpec)",
            f"so it makes or changes no Deployment: {effect}",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The nearest thing that works."""
        service = cluster.object_at(self.subject)
        if service is None:
            return []
        usable = [runtime for runtime in runtimes_for(cluster, service.namespace) if enabled(runtime)]
        fitting = [runtime for runtime in usable if supports(runtime, self.asked, automatic=False)]
        edits = _runtime(service, self.asked, fitting) or _model(service, self.asked, usable)
        if edits:
            return [Change(target=service.ref, edits=edits, why=self.summary())]
        return _enable(cluster, service, self.asked)

    def advice(self) -> list[str]:
        """Where the runtimes are."""
        space = self.subject.namespace
        return [
            f"`kubectl -n {space} get servingruntimes,clusterservingruntimes` lists formats and names",
            "name the runtime in `spec.predictor.model.runtime`: then no other one can take its place",
        ]


def _said(cluster: Snapshot, service: Object) -> tuple[Evidence, ...]:
    """Where a service says that it has no runtime."""
    found = []
    reason = service.text("status.modelStatus.lastFailureInfo.reason")
    state = service.text("status.modelStatus.transitionStatus")
    ready = service.condition("Ready")
    if reason in _REASONS and (state == "InvalidSpec" or not (ready and ready.status == "True")):
        message = service.text("status.modelStatus.lastFailureInfo.message")
        found.append(seen_object(service.ref, "status.modelStatus.lastFailureInfo", f"{reason}: {message}"))
    for condition in service.conditions:
        if condition.status != "True" and _SAYS.search(condition.message):
            path = f"status.conditions[{condition.type}].message"
            found.append(seen_object(service.ref, path, condition.message))
    if ready is None or ready.status != "True":
        events = [event for event in cluster.events_about(service.ref) if _SAYS.search(event.text)]
        found += [seen_event(service.ref, event) for event in events[-1:]]
    return tuple(found)


def _what(cluster: Snapshot, service: Object, asked: Asked) -> What | None:
    """Why the runtimes that exist do not serve a model; None when one does."""
    runtimes = runtimes_for(cluster, service.namespace)
    if not asked.runtime:
        fits = any(enabled(r) and supports(r, asked, automatic=True) for r in runtimes)
        return None if fits else "unmatched"
    named = next((runtime for runtime in runtimes if runtime.name == asked.runtime), None)
    if named is None:
        return "missing"
    if not enabled(named):
        return "disabled"
    return None if supports(named, asked, automatic=False) else "unsupported"


def _likeness(one: str, two: str) -> float:
    return SequenceMatcher(None, one.lower(), two.lower()).ratio()


def _runtime(service: Object, asked: Asked, fitting: list[Object]) -> tuple[Edit, ...]:
    """Another runtime by name: the one most like the name that was meant, else the first one."""
    single = [r for r in fitting if r.value("spec.workerSpec") is ABSENT] or fitting
    if not single:
        return ()
    automatic = [r for r in single if supports(r, asked, automatic=True)] or single
    best = max(automatic, key=lambda r: _likeness(r.name, asked.runtime)) if asked.runtime else automatic[0]
    path = f"{MODEL}.runtime"
    return (Edit(path=path, before=service.value(path), after=best.name),)


def _model(service: Object, asked: Asked, usable: list[Object]) -> tuple[Edit, ...]:
    """What the model is said to be, as a runtime has it: protocol, format or version."""
    named = [runtime for runtime in usable if runtime.name == asked.runtime] or usable
    if any(supports(runtime, replace(asked, protocol=""), automatic=not asked.runtime) for runtime in named):
        path = f"{MODEL}.protocolVersion"
        return (Edit(path=path, before=service.value(path), after=ABSENT),)
    known = {f for runtime in named for f in formats_of(runtime, automatic=not asked.runtime)}
    versions = sorted({version for name, version in known if name == asked.format}, reverse=True)
    if versions:
        path, after = f"{MODEL}.modelFormat.version", versions[0] or ABSENT
        return (Edit(path=path, before=service.value(path), after=after),)
    near = max(known, key=lambda f: (_likeness(f[0], asked.format), f), default=("", ""))
    if not near[0] or _likeness(near[0], asked.format) < _ALIKE:
        return ()
    path = f"{MODEL}.modelFormat.name"
    edits = [Edit(path=path, before=service.value(path), after=near[0])]
    if asked.version and asked.version not in {version for name, version in known if name == near[0]}:
        path, after = f"{MODEL}.modelFormat.version", near[1] or ABSENT
        edits.append(Edit(path=path, before=service.value(path), after=after))
    return tuple(edits)


def _enable(cluster: Snapshot, service: Object, asked: Asked) -> list[Change]:
    """The named runtime switched on, where nothing else would do."""
    runtimes = runtimes_for(cluster, service.namespace)
    named = next((r for r in runtimes if r.name == asked.runtime and not enabled(r)), None)
    if named is None or not supports(named, asked, automatic=False):
        return []
    edit = Edit(path="spec.disabled", before=named.value("spec.disabled"), after=False)
    return [Change(target=named.ref, edits=(edit,), why=f"`{asked.runtime}` is named and disabled")]
