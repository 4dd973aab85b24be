"""The command line, in process: what it prints where, and its exit status."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tillerman import cli

RECORDED = str(Path(cli.__file__).parent.parent / "recorded")
ROOT = "startup-probe-kills-load@InferenceService/chat/assistant-32b"


class Answer(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def tillerman(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> Answer:
        from tillerman.cli.console import console

        console.cache_clear()
        status = cli.run(list(arguments))
        out, err = capsys.readouterr()
        return Answer(status, out, err)

    return run


def test_demo_shows_the_whole_road_within_80_columns(tillerman: Any) -> None:
    answer = tillerman("demo")
    assert (answer.status, answer.err) == (0, "")
    assert [line for line in answer.out.splitlines() if len(line) > 80] == []
    for said in ("GPU nodes", "Models served", "GPU daemon stack", ROOT, "what-if", "root causes"):
        assert said in answer.out


def test_demo_document_holds_the_estate_and_the_diagnosis(tillerman: Any) -> None:
    found = json.loads(tillerman("demo", "--json").out)
    assert list(found) == ["schema", "estate", "diagnosis"]
    assert found["diagnosis"]["findings"][0]["id"] == ROOT


def test_diagnosis_document_is_the_contract(tillerman: Any) -> None:
    answer = tillerman("diagnose", "--demo", "--json")
    found = json.loads(answer.out)
    assert (answer.status, answer.err, list(found)) == (0, "", ["schema", "source", "findings"])
    assert found["schema"] == "tillerman.dev/diagnosis/v1"
    assert set(found["source"]) >= {"kind", "taken_at", "not_seen"}
    first = found["findings"][0]
    assert list(first) == [
        "id", "fault", "pattern", "severity", "certainty", "root", "explained_by", "subject", "related",
        "summary", "explanation", "evidence", "changes", "advice",
    ]  # fmt: skip
    assert first["id"] == ROOT
    assert first["subject"] == {
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "namespace": "chat",
        "name": "assistant-32b",
    }  # fmt: skip
    assert {key for item in first["evidence"] for key in item} == {"source", "ref", "path", "value"}
    assert [list(edit) for change in first["changes"] for edit in change["edits"]] == [
        ["path", "before", "after"]
    ]
    roots = {one["id"] for one in found["findings"] if one["root"]}
    assert all(set(one["explained_by"]) <= roots for one in found["findings"])
    assert all(bool(one["explained_by"]) != one["root"] for one in found["findings"])


def test_same_snapshot_gives_the_same_document_twice(tillerman: Any) -> None:
    assert tillerman("diagnose", "--demo", "--json").out == tillerman("diagnose", "--demo", "--json").out


@pytest.mark.parametrize(("level", "status"), [("critical", 1), ("warning", 1)])
def test_fail_on_makes_a_root_an_exit_status(level: str, status: int, tillerman: Any) -> None:
    assert tillerman("diagnose", "--demo", "--fail-on", level).status == status
    assert tillerman("diagnose", "--demo").status == 0


def test_fail_on_critical_lets_a_warning_pass(tillerman: Any) -> None:
    target = "Deployment/search/reranker"
    assert tillerman("diagnose", target, "--demo", "--fail-on", "critical").status == 0
    assert tillerman("diagnose", target, "--demo", "--fail-on", "warning").status == 1


def test_target_and_namespace_keep_what_touches_them_and_its_roots(tillerman: Any) -> None:
    found = json.loads(tillerman("diagnose", "Deployment/search/reranker", "--demo", "--json").out)[
        "findings"
    ]
    assert [one["root"] for one in found] == [True, False]
    assert found[1]["subject"]["name"] == "reranker"
    names = [
        one["id"]
        for one in json.loads(tillerman("diagnose", "-n", "chat", "--demo", "--json").out)["findings"]
    ]
    assert names == [ROOT]


def test_markdown_is_a_ticket(tillerman: Any) -> None:
    answer = tillerman("diagnose", "--demo", "-o", "markdown")
    assert answer.out.startswith("# Diagnosis of `the recorded cluster`\n")
    assert "## Critical: `startup-probe-kills-load` on `InferenceService/chat/assistant-32b`" in answer.out
    assert "```diff" in answer.out
    assert "\x1b" not in answer.out


def test_look_document_says_unknown_as_null_never_zero(tillerman: Any) -> None:
    found = json.loads(tillerman("look", "--demo", "--json").out)
    assert found["schema"] == "tillerman.dev/estate/v1"
    loads = {m["owner"]["name"]: m["running"] for m in found["models"]}
    assert loads["assistant-32b"] is None
    assert loads["assistant-70b"] > 0
    lost = next(n for n in found["gpu_nodes"] if n["name"] == "l40s-02")
    assert (lost["capacity"], lost["allocatable"], lost["free"]) == (4, 0, 0)


def test_explain_takes_the_beginning_of_an_id_and_shows_all_evidence(tillerman: Any) -> None:
    answer = tillerman("explain", "startup-probe", "--demo")
    assert answer.status == 0
    assert "Killing" in answer.out
    assert json.loads(tillerman("explain", ROOT, "--demo", "--json").out)["id"] == ROOT


@pytest.mark.parametrize(
    ("arguments", "status", "said", "hint"),
    [
        (["diagnose", "--snapshot", "/nowhere/at/all"], 2, "does not exist", "tillerman snapshot -o DIR"),
        (["diagnose", "--demo", "--context", "x"], 2, "more than one cluster is named", "give one of"),
        (["diagnose", "Pod/x", "--demo"], 2, "the cluster holds no `Pod/x`", "there are Pod/"),
        (["diagnose", "nonsense", "--demo"], 2, "`nonsense` names no object", "Kind/namespace/name"),
        (["diagnose", "-n", "chatt", "--demo"], 2, "the cluster holds no namespace `chatt`", "there is chat"),
        (["explain", "nothing-like-it", "--demo"], 2, "no finding is called", "the findings are"),
        (["patterns", "health-prob"], 2, "no pattern is called", "did you mean `health-probe`"),
        (
            ["faults", "startup-probe-kill-load"],
            2,
            "no fault is called",
            "did you mean `startup-probe-kills-load`",
        ),
    ],
)
def test_bad_arguments_say_what_to_do(
    arguments: list[str], status: int, said: str, hint: str, tillerman: Any
) -> None:
    answer = tillerman(*arguments)
    assert (answer.status, answer.out) == (status, "")
    assert answer.err.startswith("error: ")
    assert said in answer.err
    assert hint in answer.err.split("\nhint: ")[1]


def test_unknown_option_is_a_usage_error(tillerman: Any) -> None:
    answer = tillerman("diagnose", "--frobnicate")
    assert answer.status == 2
    assert "No such option" in answer.err


def test_text_from_a_cluster_cannot_steer_the_terminal() -> None:
    from tillerman.cli.console import safe

    assert safe("a\x1b[31mred\x1b]0;title\x07b\r\n[bold]c\u202e") == "ared b [bold]c".replace("d b", "db")
