"""The autoscaler asks for a metric that its servers do not expose, so it reads nothing and never scales.

What happens
Series are renamed between engine releases, counters gain `_total`, endpoint pickers change their prefix, and
a model name in a query goes stale. An empty answer is zero to KEDA, without an error; an HPA on an adapter
stops scaling.

How it shows
A name, or a model name, in a query that no scrape of the servers behind it has, while its successor is there.
On a plain HPA `ScalingActive` False with `FailedGetExternalMetric` or `FailedGetPodsMetric`, for long.

When we stay silent
Those who would answer were not scraped; the query has an alternative (`or`) that is answered; the name is of
no engine and no endpoint picker; the HPA fails only for moments; nothing is known to have taken the name's
place and no request waits.

What we propose
The same query with the name, or the model name, that is exposed: in the ScaledObject, the InferenceService
it comes from, or the HPA.

Sources
vllm-project/vllm#18354, #27133, #30041; kubernetes-sigs/gateway-api-inference-extension#1905; KEDA 2.20
prometheus scaler (`ignoreNullValues` is true by default); llm-d router 0.10 metrics.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.model import Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.elastic_scale.adapters import metrics_api_missing
from tillerman.patterns.elastic_scale.scalers import (
    hpa_of,
    lacks_metric_for_long,
    queues,
    servers_behind,
    target_of,
    waiting_each,
)
from tillerman.patterns.elastic_scale.watches import (
    Watch,
    answered,
    exposed_to,
    renamed,
    successor,
    watches,
)
from tillerman.patterns.fault import Certainty, Evidence, Fault, Layer, Severity, seen_object


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A name in a query that nothing answers, and one that would be: `right` is "" where there is none."""

    watch: Watch
    wrong: str
    right: str
    exposed: bool

    def righted(self, text: str) -> str:
        """The query with the right name in place of the wrong one."""
        return re.sub(rf"(?<![\w:]){re.escape(self.wrong)}(?![\w:])", lambda _: self.right, text)


@dataclass(frozen=True, kw_only=True)
class MetricRenamedOrMissing(Fault):
    """One autoscaler, and what of its queries nothing answers."""

    layer = Layer.SCALING

    wrongs: tuple[Wrong, ...]
    waiting: float | None

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Autoscalers whose queries nothing answers, by the object a person edits."""
        groups: dict[Ref, list[Watch]] = {}
        for watch in watches(cluster):
            groups.setdefault(watch.source.ref, []).append(watch)
        for source, found in groups.items():
            wrongs = [wrong for watch in found for wrong in _wrongs(cluster, watch)]
            scaler = found[0].scaler
            servers = servers_behind(cluster, scaler)
            waiting = waiting_each(cluster, servers)
            known = [wrong for wrong in wrongs if wrong.right] or (wrongs if queues(waiting) else [])
            if known:
                target = cluster.object_at(target_of(scaler))
                yield cls(
                    subject=source,
                    severity=_severity(found, wrongs, queues(waiting)),
                    evidence=tuple(_seen(cluster, known)),
                    hurts=(cluster.owner_of(target) if target else target_of(scaler),),
                    certainty=_certainty(known),
                    wrongs=tuple(known),
                    waiting=waiting[1] if waiting else None,
                )

    def summary(self) -> str:
        """The name that nothing answers, and the one that is there."""
        first = self.wrongs[0]
        there = f", they expose `{first.right}`" if first.right else ""
        waits = f"; {self.waiting:.0f} requests wait at each replica" if self.waiting else ""
        return f"the autoscaler asks for `{first.wrong}`, which its servers do not expose{there}{waits}"

    def explain(self) -> list[str]:
        """From the name to the replicas that do not come."""
        empty = "KEDA takes the empty answer for 0 and reports no error"
        if not self.wrongs[0].watch.exact:
            empty = "the HPA gets no value and leaves the number of replicas as it is"
        return [
            *(f"`{wrong.wrong}` in `{wrong.watch.text}` is answered by no server" for wrong in self.wrongs),
            empty,
            "so no load makes it add replicas",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The queries with the names that are exposed."""
        first = self.wrongs[0]
        after: dict[str, tuple[str, str]] = {}
        for wrong in self.wrongs if first.right else ():
            before, text = after.get(wrong.watch.path, (wrong.watch.text, wrong.watch.text))
            after[wrong.watch.path] = (before, wrong.righted(text))
        edits = tuple(Edit(path=path, before=old, after=new) for path, (old, new) in after.items())
        why = f"the servers expose `{first.right}`, and nothing named `{first.wrong}`"
        return [Change(target=first.watch.source.ref, edits=edits, why=why)] if edits else []

    def advice(self) -> list[str]:
        """How to see it fail next time."""
        return [
            "ask Prometheus for the query before using it: an empty answer means that nothing will scale",
            '`ignoreNullValues: "false"` with `fallback` makes KEDA report an empty answer',
        ]


def _wrongs(cluster: Snapshot, watch: Watch) -> list[Wrong]:
    """The names in one query that nothing answers; none when it has an alternative that is answered."""
    if not watch.exact and not _fails(cluster, watch.scaler):
        return []
    missing: list[Wrong] = []
    for name in watch.names:
        exposed = exposed_to(cluster, watch, name)
        if not exposed:
            newer = renamed(name)
            if newer != name and _fails(cluster, watch.scaler):
                missing.append(Wrong(watch=watch, wrong=name, right=newer, exposed=False))
            continue
        if not answered(watch, name, exposed):
            right = successor(watch, name, exposed)
            missing.append(Wrong(watch=watch, wrong=name, right=right, exposed=True))
        elif stale := _stale_model(watch, name, exposed.get(name, frozenset())) or _gone(
            cluster, watch, name
        ):
            missing.append(stale)
        elif re.search(r"\bor\b", watch.text):
            return []
    return missing


def _stale_model(watch: Watch, name: str, models: frozenset[str]) -> Wrong | None:
    """A model name that no server has under this series."""
    for operator, value in watch.asked(name, "model_name"):
        fits = [m for m in models if m == value or (operator == "=~" and _matches(value, m))]
        if not fits and any(models):
            right = next(iter(models)) if len(models) == 1 else ""
            return Wrong(watch=watch, wrong=value, right=right, exposed=True)
    return None


def _gone(cluster: Snapshot, watch: Watch, name: str) -> Wrong | None:
    """A namespace in a query that holds no pod, while the servers are in another."""
    here = watch.scaler.namespace
    for operator, value in watch.asked(name, "namespace"):
        if operator == "=" and value != here and cluster.pods_in(here) and not cluster.pods_in(value):
            return Wrong(watch=watch, wrong=value, right=here, exposed=True)
    return None


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:
        return True


def _fails(cluster: Snapshot, scaler: Object) -> bool:
    """Whether the HPA has been without a metric for long, while the API that would give it is served."""
    hpa = hpa_of(cluster, scaler)
    return hpa is not None and lacks_metric_for_long(cluster, hpa) and not metrics_api_missing(hpa)


def _severity(found: list[Watch], wrongs: list[Wrong], waits: bool) -> Severity:
    """Only worth knowing where another metric of the same autoscaler still works and nothing waits."""
    working = len(found) > len({wrong.watch.path for wrong in wrongs})
    return "info" if working and not waits else "warning"


def _certainty(wrongs: list[Wrong]) -> Certainty:
    return "proven" if all(wrong.exposed and wrong.right for wrong in wrongs) else "likely"


def _seen(cluster: Snapshot, wrongs: list[Wrong]) -> Iterator[Evidence]:
    for wrong in wrongs:
        yield seen_object(wrong.watch.source.ref, wrong.watch.path, wrong.watch.text)
        if wrong.exposed and wrong.right:
            pods = (server.pod.ref for server in servers_behind(cluster, wrong.watch.scaler))
            for ref in list(pods)[:2]:
                yield Evidence(
                    source="metric", ref=str(ref), path=wrong.right, value=f"no `{wrong.wrong}` beside it"
                )
    hpa = hpa_of(cluster, wrongs[0].watch.scaler)
    active = hpa.condition("ScalingActive") if hpa else None
    if hpa and active and active.status == "False":
        yield seen_object(hpa.ref, "status.conditions[ScalingActive]", f"{active.reason}: {active.message}")
