"""A diagnosis: every fault in a snapshot as findings, roots first.

Symptoms under the root that explains them.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tillerman.cluster.change import Change
from tillerman.cluster.index import Source
from tillerman.cluster.model import Ref
from tillerman.cluster.snapshot import Snapshot
from tillerman.errors import UsageError
from tillerman.patterns.catalogue import faults
from tillerman.patterns.consequences import Consequence, consequences
from tillerman.patterns.fault import Certainty, Evidence, Fault, Severity, fault_id, pattern_id
from tillerman.patterns.unready import unready
from tillerman.patterns.unrecognised import Unrecognised, unrecognised

_ORDER: dict[Severity, int] = {"critical": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fault found, as every door shows it; its `changes` are those that their what-if bears out."""

    id: str
    fault: str
    pattern: str
    severity: Severity
    certainty: Certainty
    root: bool
    explained_by: tuple[str, ...]
    subject: Ref
    related: tuple[Ref, ...]
    summary: str
    explanation: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    changes: tuple[Change, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What was looked at and what was found, in the order a person should read it."""

    source: Source
    findings: tuple[Finding, ...]

    @property
    def roots(self) -> tuple[Finding, ...]:
        """The findings that nothing else found explains."""
        return tuple(finding for finding in self.findings if finding.root)

    def symptoms_of(self, root: Finding) -> tuple[Finding, ...]:
        """The findings that a root explains."""
        return tuple(finding for finding in self.findings if root.id in finding.explained_by)


def diagnose(cluster: Snapshot) -> Diagnosis:
    """Every fault in a snapshot."""
    found = detect(cluster)
    explained = {_id(fault): _explanations(fault, found) for fault in found}
    built = [_finding(cluster, fault, found, explained[_id(fault)]) for fault in found]
    return Diagnosis(source=cluster.seen, findings=_ordered(built))


def detect(cluster: Snapshot) -> tuple[Fault, ...]:
    """Every occurrence of every fault, then what is broken and none of them recognised."""
    found: dict[str, Fault] = {}
    for kind in faults():
        for fault in kind.detect(cluster):
            found.setdefault(_id(fault), fault)
    for more in (unready, unrecognised, consequences):
        for fault in more(cluster, tuple(found.values())):
            found.setdefault(_id(fault), fault)
    return tuple(found.values())


def _name(fault: Fault) -> str:
    return fault.fault if isinstance(fault, Unrecognised | Consequence) else fault_id(type(fault))


def _id(fault: Fault) -> str:
    return f"{_name(fault)}@{fault.subject}"


def _explanations(fault: Fault, found: Iterable[Fault]) -> tuple[str, ...]:
    """The roots that explain a finding: those that explain it and are themselves unexplained."""
    causes = [other for other in found if other.explains(fault)]
    deepest = [cause for cause in causes if not any(other.explains(cause) for other in causes)]
    return tuple(sorted(_id(cause) for cause in deepest))


def _finding(
    cluster: Snapshot, fault: Fault, found: Sequence[Fault], explained_by: tuple[str, ...]
) -> Finding:
    pattern = fault.pattern if isinstance(fault, Unrecognised | Consequence) else pattern_id(type(fault))
    changes = fault.propose(cluster) if not explained_by and fault.severity != "info" else []
    borne_out = bool(changes) and bears_out(cluster, fault, changes, found)
    return Finding(
        id=_id(fault),
        fault=_name(fault),
        pattern=pattern,
        severity=fault.severity,
        certainty=fault.certainty,
        root=not explained_by,
        explained_by=explained_by,
        subject=fault.subject,
        related=tuple(dict.fromkeys(ref for ref in fault.hurts if ref.key != fault.subject.key)),
        summary=fault.summary(),
        explanation=tuple(fault.explain()),
        evidence=fault.evidence,
        changes=tuple(changes) if borne_out else (),
        advice=tuple(fault.advice()),
    )


def bears_out(cluster: Snapshot, fault: Fault, changes: Iterable[Change], found: Iterable[Fault]) -> bool:
    """Whether the what-if of these changes is free of the fault and of anything that was not there before.

    What the fault itself had explained (pods that were waiting or failing because of it) is history, not
    news.
    """
    try:
        after = cluster.with_changes(changes)
    except UsageError:
        if os.environ.get("TILLERMAN_DEBUG"):
            raise
        return False
    before = {_id(one) for one in found}
    hurt = {ref.key for ref in fault.hurts}
    for one in detect(after):
        known = _id(one) in before and _id(one) != _id(fault)
        about = {ref.key for ref in one.hurts}
        history = isinstance(one, Unrecognised | Consequence) and (about <= hurt or one.subject.key in hurt)
        if one.severity != "info" and not known and not history:
            return False
    return True


def _ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    """Roots by severity then id, each followed by its symptoms."""
    key = {f.id: (_ORDER[f.severity], f.certainty != "proven", f.id) for f in findings}
    ordered: dict[str, Finding] = {}
    for root in sorted((f for f in findings if f.root), key=lambda f: key[f.id]):
        ordered[root.id] = root
        under = [f for f in findings if root.id in f.explained_by]
        ordered |= {f.id: f for f in sorted(under, key=lambda f: key[f.id]) if f.id not in ordered}
    ordered |= {f.id: f for f in sorted(findings, key=lambda f: key[f.id]) if f.id not in ordered}
    return tuple(ordered.values())
