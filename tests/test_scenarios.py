"""Every fault's scenario: what it finds in real manifests, what it proposes, and the near misses it stays
silent on.

A scenario is one YAML file named after its fault, `scenarios/<fault id>.yaml`:

    summary:  a sentence about the situation
    taken_at: RFC 3339
    cluster:  text: manifests as kubectl prints them, several documents
    logs:     {namespace/pod/container[.previous]: text}
    metrics:  {namespace/pod or nodes/node: {unix seconds: text}}
    expect:   {finding id: {severity, root (true unless said), certainty (proven unless said), summary
    (regex),
               changes: [{target, path, before (absent unless said), after}]}}   every finding, and no other
    near_misses: {name: [{find: text, put: text}]}   edits of the texts above, after which the fault is
    silent;
                 `find` must be there; `expect: [finding ids]` beside `edits:` where something else is found
                 instead
"""

from pathlib import Path
from typing import Any

import pytest
import ryaml

from tillerman.cluster import directory
from tillerman.cluster.change import ABSENT
from tillerman.patterns.catalogue import faults
from tillerman.patterns.diagnosis import Finding, diagnose
from tillerman.patterns.fault import fault_id

SCENARIOS = Path(__file__).parent / "scenarios"
FILES = sorted(SCENARIOS.glob("*.yaml"))


def load(path: Path) -> dict[str, Any]:
    found = ryaml.loads(path.read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def write(scenario: dict[str, Any], root: Path, edits: list[dict[str, str]] | None = None) -> Path:
    """The scenario as a snapshot directory, with the edits of a near miss made in its texts."""
    texts: dict[str, str] = {"cluster/all.yaml": scenario["cluster"]}
    for name, text in (scenario.get("logs") or {}).items():
        texts[f"logs/{name}.log"] = text
    for name, scrapes in (scenario.get("metrics") or {}).items():
        for at, text in scrapes.items():
            texts[f"metrics/{name}/{at}.prom"] = text
    for edit in edits or []:
        assert any(edit["find"] in text for text in texts.values()), (
            f"`{edit['find']}` is not in the scenario"
        )
        texts = {name: text.replace(edit["find"], edit["put"]) for name, text in texts.items()}
    texts["snapshot.yaml"] = f'taken_at: "{scenario["taken_at"]}"\n'
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


def told(finding: Finding, expected: dict[str, Any]) -> dict[str, Any]:
    """A finding in the form of what is expected of it."""
    found: dict[str, Any] = {"severity": finding.severity}
    if not finding.root or "root" in expected:
        found["root"] = finding.root
    if finding.certainty != "proven" or "certainty" in expected:
        found["certainty"] = finding.certainty
    if finding.changes or "changes" in expected:
        found["changes"] = [
            {
                "target": str(change.target),
                "path": edit.path,
                "after": None if edit.after is ABSENT else edit.after,
            }
            | ({} if edit.before is ABSENT else {"before": edit.before})
            for change in finding.changes
            for edit in change.edits
        ]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_scenario_gives_exactly_its_findings(path: Path, tmp_path: Path) -> None:
    scenario = load(path)
    snapshot = directory.read(write(scenario, tmp_path))
    diagnosis = diagnose(snapshot)
    assert snapshot.source.not_seen[0] == "secrets"
    assert [line for line in snapshot.source.not_seen if ":" in line] == []
    expected = {name: dict(one) for name, one in scenario["expect"].items()}
    summaries = {name: one.pop("summary", "") for name, one in expected.items()}
    assert {f.id: told(f, expected.get(f.id, {})) for f in diagnosis.findings} == expected
    assert any(name.startswith(f"{path.stem}@") for name in expected)
    for finding in diagnosis.findings:
        assert summaries.get(finding.id, "") in finding.summary
        assert finding.evidence
        assert finding.explanation
        assert not finding.root or finding.severity == "info" or finding.changes or finding.advice


def near_misses() -> list[Any]:
    return [
        pytest.param(path, name, id=f"{path.stem}-{name}")
        for path in FILES
        for name in (load(path).get("near_misses") or {})
    ]


@pytest.mark.parametrize(("path", "name"), near_misses())
def test_near_miss_stays_silent(path: Path, name: str, tmp_path: Path) -> None:
    scenario = load(path)
    miss = scenario["near_misses"][name]
    edits, expected = (miss["edits"], miss["expect"]) if isinstance(miss, dict) else (miss, None)
    found = {
        f.id
        for f in diagnose(directory.read(write(scenario, tmp_path, edits))).findings
        if f.severity != "info"
    }
    assert not [one for one in found if one.startswith(f"{path.stem}@")]
    if expected is not None:
        assert found == set(expected)


def test_every_fault_has_a_scenario_with_two_near_misses() -> None:
    stems = {path.stem: len(load(path).get("near_misses") or {}) for path in FILES}
    assert sorted(fault_id(f) for f in faults() if stems.get(fault_id(f), 0) < 2) == []
    assert sorted(set(stems) - {fault_id(f) for f in faults()}) == []
