from pathlib import Path

import pytest

from tillerman.cluster import directory
from tillerman.cluster.logs import HEAD_BYTES, TAIL_BYTES
from tillerman.errors import UsageError

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: chat, creationTimestamp: "2026-11-20T10:00:00Z"}
spec: {containers: [{name: main}]}
"""


def made(root: Path, **files: str | bytes) -> Path:
    for name, content in {"cluster/pod.yaml": POD, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def test_missing_empty_and_foreign_directories_are_errors_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "readme.md").write_text("x")
    for name, what in (
        ("none", "does not exist"),
        ("file", "is not a directory"),
        ("foreign", "holds no snapshot"),
    ):
        with pytest.raises(UsageError, match=what) as caught:
            directory.read(tmp_path / name)
        assert "cluster/**.yaml|json" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("cluster/x.yaml", b"\x00\x01\xff\xfe", "not text"),
        ("cluster/x.yaml", b"a: [1", "not YAML"),
        ("cluster/x.yaml", b"a: b\n", "an object without a kind"),
        ("cluster/x.json", b'{"items": [', "not JSON"),
        ("cluster/x.yml", b"", "empty"),
        ("snapshot.yaml", b"taken_at: [", "snapshot.yaml"),
        ("snapshot.yaml", b"taken_at: yesterday", "is not a time"),
    ],
)
def test_file_that_is_not_what_it_claims_costs_one_line_that_names_it(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    snapshot = directory.read(made(tmp_path, **{name: content}))
    assert [p.name for p in snapshot.pods] == ["a"]
    lines = [line for line in snapshot.source.not_seen if ":" in line]
    assert len(lines) == 1
    assert lines[0].startswith(name)
    assert said in lines[0]


def test_moment_is_stated_or_the_newest_seen_never_the_clock(tmp_path: Path) -> None:
    assert directory.read(made(tmp_path)).now.isoformat() == "2026-11-20T10:00:00+00:00"
    made(tmp_path, **{"metrics/chat/a/1795300000.prom": "up 1\n"})
    assert directory.read(tmp_path).now.timestamp() == 1795300000
    made(tmp_path, **{"snapshot.yaml": "taken_at: 2026-11-21T00:00:00Z\n"})
    assert directory.read(tmp_path).now.isoformat() == "2026-11-21T00:00:00+00:00"


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    assert directory.read(made(tmp_path)).source.not_seen == ("secrets", "nodes", "events", "logs", "metrics")


def test_log_is_bounded_and_its_middle_left_out(tmp_path: Path) -> None:
    middle = b"x" * 99 + b"\n"
    text = b"first line\n" + middle * ((HEAD_BYTES + TAIL_BYTES) // 100 + 1000) + b"last line\n"
    logs: dict[str, str | bytes] = {"logs/chat/a/main.log": text, "logs/chat/a/main.previous.log": "old"}
    snapshot = directory.read(made(tmp_path, **logs))
    log = snapshot.log(snapshot.pods[0], "main")
    assert log is not None
    assert (log.lines[0].text, log.lines[-1].text, log.truncated) == ("first line", "last line", True)
    assert len(log.text) <= HEAD_BYTES + TAIL_BYTES + 1
    assert any("logs/chat/a/main.log" in line for line in snapshot.seen.not_seen)
    previous = snapshot.log(snapshot.pods[0], "main", previous=True)
    assert previous is not None
    assert previous.text == "old"
    assert snapshot.log(snapshot.pods[0], "other") is None


def test_garbage_scrape_is_not_seen_rather_than_zero(tmp_path: Path) -> None:
    good = '# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{engine="0"} 3\n'
    files: dict[str, str | bytes] = {
        "metrics/chat/a/1795300000.prom": good,
        "metrics/chat/a/1795300060.prom": "{{{ nothing 1 2 3",
    }
    snapshot = directory.read(made(tmp_path, **files))
    assert snapshot.series(snapshot.pods[0]).value("waiting") == 3
    assert snapshot.series(snapshot.pods[0]).value("running") is None
    assert any("1795300060.prom: not a scrape" in line for line in snapshot.seen.not_seen)


def test_name_in_a_manifest_cannot_lead_out_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "secret.log").write_text("outside")
    evil = POD.replace("name: a,", 'name: "../../..",').replace("name: main", "name: secret")
    snapshot = directory.read(made(tmp_path / "in", **{"cluster/pod.yaml": evil}))
    assert snapshot.log(snapshot.pods[0], "secret") is None


def test_whatever_the_log_says_tokens_in_it_are_masked(tmp_path: Path) -> None:
    snapshot = directory.read(made(tmp_path, **{"logs/chat/a/main.log": "token hf_" + "a" * 30 + " used\n"}))
    log = snapshot.log(snapshot.pods[0], "main")
    assert log is not None
    assert log.text == "token *** used\n"
