"""The JSON documents that programs read: contracts that only grow (`schema` names each)."""

from dataclasses import asdict
from typing import Any

from tillerman.cluster.change import ABSENT, Change
from tillerman.cluster.index import Source
from tillerman.cluster.model import Ref
from tillerman.desk.estate import Estate
from tillerman.patterns.diagnosis import Diagnosis, Finding

DIAGNOSIS = "tillerman.dev/diagnosis/v1"
ESTATE = "tillerman.dev/estate/v1"


def ref_document(ref: Ref) -> dict[str, str]:
    """apiVersion, kind, namespace (absent for cluster-scoped objects), name."""
    space = {"namespace": ref.namespace} if ref.namespace else {}
    return {"apiVersion": ref.api_version, "kind": ref.kind, **space, "name": ref.name}


def source_document(source: Source) -> dict[str, Any]:
    """kind, name, taken_at (RFC 3339), not_seen."""
    return {
        "kind": source.kind,
        "name": source.name,
        "taken_at": source.taken_at.isoformat().replace("+00:00", "Z"),
        "not_seen": list(source.not_seen),
    }


def change_document(change: Change) -> dict[str, Any]:
    """target, edits (path, before, after: null where the field is absent), why."""
    edits = [
        {
            "path": edit.path,
            "before": None if edit.before is ABSENT else edit.before,
            "after": None if edit.after is ABSENT else edit.after,
        }
        for edit in change.edits
    ]
    return {"target": ref_document(change.target), "edits": edits, "why": change.why}


def finding_document(finding: Finding) -> dict[str, Any]:
    """One finding, in the order of the contract."""
    return {
        "id": finding.id,
        "fault": finding.fault,
        "pattern": finding.pattern,
        "severity": finding.severity,
        "certainty": finding.certainty,
        "root": finding.root,
        "explained_by": list(finding.explained_by),
        "subject": ref_document(finding.subject),
        "related": [ref_document(ref) for ref in finding.related],
        "summary": finding.summary,
        "explanation": list(finding.explanation),
        "evidence": [asdict(item) for item in finding.evidence],
        "changes": [change_document(change) for change in finding.changes],
        "advice": list(finding.advice),
    }


def diagnosis_document(diagnosis: Diagnosis) -> dict[str, Any]:
    """A whole diagnosis."""
    return {
        "schema": DIAGNOSIS,
        "source": source_document(diagnosis.source),
        "findings": [finding_document(finding) for finding in diagnosis.findings],
    }


def estate_document(estate: Estate) -> dict[str, Any]:
    """The estate: counts, GPU nodes, models, the stack; an unknown number is null."""
    return {
        "schema": ESTATE,
        "source": source_document(estate.source),
        "nodes": estate.nodes,
        "pods": estate.pods,
        "gpu_nodes": [{**asdict(node), "free": node.free} for node in estate.gpu_nodes],
        "models": [{**asdict(model), "owner": ref_document(model.owner)} for model in estate.models],
        "stack": [{**asdict(part), "workload": ref_document(part.workload)} for part in estate.stack],
    }
