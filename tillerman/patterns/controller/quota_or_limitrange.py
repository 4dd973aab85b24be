"""Pods are refused before they exist: a quota is full, or their requests break the namespace's rules.

What happens
ResourceQuota and LimitRange are enforced when a pod is created. A refused pod is nowhere to be seen: the
ReplicaSet, StatefulSet or Job above it tries again and again, and a rollout or a scale-up just does not
move. A quota on limits also refuses every container that sets none, injected ones included.

How it shows
`FailedCreate`: `exceeded quota: gpu, requested: requests.nvidia.com/gpu=4, used: ..., limited: ...`, `failed
quota: ...: must specify limits.memory for: ...`, `maximum memory usage per Container is ...`;
`ReplicaFailure` on the Deployment; fewer pods than replicas.

When we stay silent
All wanted pods exist by now; the quota has room again, the rule allows it; a Job waits its turn while other
pods of its namespace use the quota (that is what a quota is for: it is only noted).

What we propose
Limits for the containers that lack them, on the object that a person edits; else a quota with room for the
pods that are missing, or a rule that allows them.

Sources
kserve/kserve#867, #1242; kubernetes/kubernetes#91320; quota and LimitRanger admission 1.37.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change, Edit, path_of
from tillerman.cluster.model import Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.quantity import counted, quantity
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.controller.limits import Unset, blamed, set_limits, unset_in
from tillerman.patterns.controller.refusals import Refusal, refusals
from tillerman.patterns.fault import Fault, Layer, Severity, seen_object

_EXCEEDED = re.compile(r"exceeded quota: ([\w.-]+), requested: (.+?), used: (.+?), limited: (.+)$")
_RANGE = re.compile(
    r"(maximum|minimum) ([\w./-]+) usage per (\w+) is (\w+)(?:, but (?:limit|request) is (\w+))?"
)
_BATCH = ("Job", "CronJob", "Workflow")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A number in a quota or limit range that stands in the way: where it is, and the one that is needed."""

    ref: Ref
    path: str
    resource: str
    have: str
    need: str
    used: str = ""


@dataclass(frozen=True, kw_only=True)
class QuotaOrLimitrange(Fault):
    """A rule that keeps pods from being created, or a workload whose containers break one."""

    layer = Layer.CONTROL

    refusal: Refusal
    rule: Rule | None
    unset: Unset | None
    missing: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Rules and workloads behind pods that are refused, one finding for each."""
        groups: dict[Ref, list[tuple[Refusal, Rule | None, Unset | None]]] = {}
        for refusal in refusals(cluster):
            unset = unset_in(cluster, refusal)
            rule = None if unset else _exceeded(cluster, refusal) or _out_of_range(cluster, refusal)
            if unset or rule:
                subject = blamed(cluster, refusal, unset) if unset else rule.ref if rule else refusal.owner
                groups.setdefault(subject, []).append((refusal, rule, unset))
        for subject, found in groups.items():
            refusal, rule, unset = found[0]
            owners = dict.fromkeys(one.owner for one, _, _ in found)
            evidence = [one.evidence for one, _, _ in found[:3]]
            if rule:
                evidence.append(
                    seen_object(rule.ref, rule.path, f"{rule.have}, used {rule.used or 'unknown'}")
                )
            yield cls(
                subject=subject,
                severity=_severity(cluster, tuple(one for one, _, _ in found), rule),
                evidence=tuple(evidence),
                hurts=(subject, *owners),
                refusal=refusal,
                rule=rule,
                unset=unset,
                missing=sum(one.missing for one, _, _ in found),
            )

    def summary(self) -> str:
        """What is refused, and by which number."""
        pods = f"{counted(self.missing, 'pod')} of {self.refusal.owner} cannot be created"
        if self.unset:
            return f"{pods}: a quota wants {self.unset}"
        rule = self.rule
        if rule is None:
            return pods
        used = f", {rule.used} used" if rule.used else ""
        return f"{pods}: `{rule.resource}` is limited to {rule.have}{used}, they need {rule.need}"

    def explain(self) -> list[str]:
        """From the rule to the missing pods."""
        return [
            f"the API server refuses the pods: {self.refusal.message[:300]}",
            f"the controller of {self.refusal.workload.ref} keeps trying, so no pod shows the cause",
            f"{counted(self.missing, 'pod')} that {'is' if self.missing == 1 else 'are'} wanted never appear",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The limits that are missing, else room in the rule."""
        if self.unset:
            return set_limits(cluster, self.refusal, self.unset)
        target = cluster.object_at(self.rule.ref) if self.rule else None
        if target is None or self.rule is None:
            return []
        edit = Edit(path=self.rule.path, before=target.value(self.rule.path), after=self.rule.need)
        why = f"{counted(self.missing, 'missing pod')} need {self.rule.need} of `{self.rule.resource}` in all"
        return [Change(target=target.ref, edits=(edit,), why=why)]

    def advice(self) -> list[str]:
        """Who decides about a quota."""
        space = self.refusal.workload.namespace
        found = [
            f"`kubectl -n {space} describe resourcequota,limitrange` shows what is used and what is allowed"
        ]
        if self.rule:
            found.append(
                "instead of more quota: fewer replicas, smaller requests, or a queue (Kueue) for batch work"
            )
        return found


def _severity(cluster: Snapshot, found: tuple[Refusal, ...], rule: Rule | None) -> Severity:
    """Nothing to blame for batch work that waits for others to finish; critical where nobody serves."""
    if rule and rule.used not in ("", "0") and all(one.owner.kind in _BATCH for one in found):
        return "info"
    if any(not any(pod.ready for pod in cluster.pods_of(one.owner)) for one in found):
        return "critical"
    return "warning"


def _exceeded(cluster: Snapshot, refusal: Refusal) -> Rule | None:
    """The line of a quota that has no room, if it has none now."""
    found = _EXCEEDED.search(refusal.message)
    if not found:
        return None
    name, requested, used, limited = found[1], _pairs(found[2]), _pairs(found[3]), _pairs(found[4])
    quota = cluster.get("ResourceQuota", refusal.workload.namespace, name) or cluster.get(
        "ClusterResourceQuota", "", name
    )
    for resource, asked in requested.items():
        root = "spec.quota.hard" if quota and quota.kind == "ClusterResourceQuota" else "spec.hard"
        path = path_of((*root.split("."), resource))
        hard = _at(quota, path) or limited.get(resource, "")
        taken = _at(quota, path_of(("status", "used", resource))) or used.get(resource, "0")
        have, want, gone = quantity(hard), quantity(asked), quantity(taken)
        if have is None or want is None or gone is None or gone + want <= have:
            continue
        ref = quota.ref if quota else Ref("v1", "ResourceQuota", refusal.workload.namespace, name)
        need = _written(gone + want * refusal.missing, asked)
        return Rule(ref=ref, path=path, resource=resource, have=hard, need=need, used=taken)
    return None


def _out_of_range(cluster: Snapshot, refusal: Refusal) -> Rule | None:
    """The line of a limit range that a container breaks, if it says so now."""
    for found in _RANGE.finditer(refusal.message):
        if rule := _broken(cluster, refusal.workload.namespace, found):
            return rule
    return None


def _broken(cluster: Snapshot, namespace: str, found: re.Match[str]) -> Rule | None:
    bound, resource, scope, value, given = found.groups()
    for item in cluster.all("LimitRange", namespace):
        for at, limit in enumerate(item.items("spec.limits")):
            table = (
                (limit.get("max" if bound == "maximum" else "min") or {}) if isinstance(limit, dict) else {}
            )
            have, want = quantity(table.get(resource)), quantity(given)
            if have is None or want is None or limit.get("type") != scope:
                continue
            if have < want if bound == "maximum" else have > want:
                path = path_of(("spec", "limits", at, bound[:3], resource))
                return Rule(ref=item.ref, path=path, resource=resource, have=value, need=given)
    return None


def _pairs(text: str) -> dict[str, str]:
    """`a=1,b=2` as a table."""
    return dict(pair.strip().split("=", 1) for pair in text.split(",") if "=" in pair)


def _at(item: Object | None, path: str) -> str:
    found = item.value(path) if item else None
    return str(found) if isinstance(found, str | int) else ""


def _written(number: float, like: str) -> str:
    """A number in the unit of another quantity."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        size = quantity(f"1{unit}") or 1.0
        if like.endswith(unit) and number % size == 0:
            return f"{number / size:g}{unit}"
    return f"{round(number * 1000)}m" if number % 1 else f"{number:.0f}"
