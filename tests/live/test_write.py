"""A live cluster written down is the same cluster when read again, without its secrets."""

import hashlib
from operator import attrgetter
from pathlib import Path

import pytest
import ryaml

from tests.live.conftest import Reader
from tests.live.served import Answer, Served, Trouble, kubeconfig
from tillerman.cluster import directory, live
from tillerman.cluster.live import Options, Written
from tillerman.cluster.live.podlogs import lasting_logs
from tillerman.cluster.write import Folder
from tillerman.errors import ClusterError, UsageError
from tillerman.patterns.diagnosis import diagnose

identity = attrgetter("kind", "metadata.namespace", "metadata.name")
SECRETS = ("not-for-anyone", "hf_abcdefghijklmnopqrstuvwxyz", "bm90LWZvci1hbnlvbmU=")


def options(served: Served, folder: Path) -> Options:
    path = kubeconfig(folder / "kubeconfig", served.url)
    return Options(kubeconfig=path, scrape_gap_s=0.0, timeout_s=5.0)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_directory_holds_what_was_read(small: Served, tmp_path: Path) -> None:
    said: list[str] = []
    written = live.write(options(small, tmp_path), tmp_path / "out", said.append)
    assert written == Written(path=tmp_path / "out", objects=10, logs=3, scrapes=6, not_seen=("secrets",))
    assert [name for name in files(tmp_path / "out") if not name.startswith("metrics")] == [
        "cluster/_cluster/namespaces.json",
        "cluster/_cluster/nodes.json",
        "cluster/_empty.json",
        "cluster/chat/events.json",
        "cluster/chat/inferencepools.inference.networking.k8s.io.json",
        "cluster/chat/pods.json",
        "cluster/rag/configmaps.json",
        "cluster/rag/pods.json",
        "logs/chat/llama-0/vllm.log",
        "logs/chat/llama-1/vllm.log",
        "logs/chat/llama-1/vllm.previous.log",
        "snapshot.yaml",
    ]
    scraped = {str(path.parent.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.prom")}
    assert scraped == {"metrics/chat/llama-0", "metrics/chat/picker-0", "metrics/nodes/gpu-1"}
    settings = ryaml.loads((tmp_path / "out" / "snapshot.yaml").read_text())
    assert isinstance(settings, dict)
    assert settings.pop("taken_at").startswith("2026-11-24T10:00:0")
    assert settings == {"context": "test", "note": "written by tillerman snapshot", "not_seen": ["secrets"]}
    assert said == [
        f"reading `test` at {small.url}",
        "reading 22 kinds",
        "reading 3 logs and the metrics of 3 pods",
    ]


def test_no_secret_is_written(small: Served, tmp_path: Path) -> None:
    live.write(options(small, tmp_path), tmp_path / "out")
    text = "".join((tmp_path / "out" / name).read_text() for name in files(tmp_path / "out"))
    assert [secret for secret in SECRETS if secret in text] == []
    assert '"kind":"Secret"' not in text


def test_written_cluster_is_read_as_the_live_one(recorded: Served, reader: Reader, tmp_path: Path) -> None:
    reader.keep = True
    reading = reader.reading(recorded, lasting_logs, scrape_gap_s=60.0)
    reading.write_to(Folder(tmp_path / "out"))
    again, alive = directory.read(tmp_path / "out"), reading.snapshot
    for field in ("pods", "nodes", "events"):
        assert sorted(getattr(again, field), key=identity) == sorted(getattr(alive, field), key=identity)
    assert {o.ref: o.raw for o in again.objects} == {o.ref: o.raw for o in alive.objects}
    assert again.kinds == alive.kinds
    assert again.source.not_seen == alive.source.not_seen
    assert diagnose(again).findings == diagnose(alive).findings


def test_rates_survive_being_written(small: Served, tmp_path: Path, reader: Reader) -> None:
    reader.now_s = 1_700_000_000.25
    reading = reader.reading(small)
    server = reading.snapshot.pod("chat", "llama-0")
    assert server is not None
    folder = Folder(tmp_path / "out")
    folder.begin()
    for whose, at_s, text in reading.scraped.texts():
        folder.add_scrape(whose, at_s + 0.125, text)
    folder.finish(reading.snapshot.source)
    again = directory.read(tmp_path / "out").metrics.of_pod("chat", "llama-0")
    alive = reading.snapshot.series(server)
    assert again.window_s == alive.window_s
    assert again.scrapes[-1].samples == alive.scrapes[-1].samples


def test_what_could_not_be_read_is_written_too(small: Served, tmp_path: Path) -> None:
    small.troubles.append(Trouble(matching="^/api/v1/nodes", answer=Answer(status=403)))
    small.troubles.append(
        Trouble(matching="picker-0", answer=Answer(status=503, message="connection refused"))
    )
    written = live.write(options(small, tmp_path), tmp_path / "out")
    lines = ("secrets", "nodes: forbidden", "metrics of chat/picker-0: connection refused")
    assert written.not_seen == lines
    assert directory.read(tmp_path / "out").source.not_seen == ("secrets", "nodes", *lines[1:])


def test_snapshot_is_replaced_only_by_force(small: Served, tmp_path: Path) -> None:
    out = tmp_path / "out"
    live.write(options(small, tmp_path), out)
    (out / "cluster" / "chat" / "old.json").write_text("{}")
    with pytest.raises(UsageError) as caught:
        live.write(options(small, tmp_path), out)
    assert caught.value.message == f"`{out}` holds a snapshot already"
    assert (out / "cluster" / "chat" / "old.json").exists()
    live.write(options(small, tmp_path), out, force=True)
    assert not (out / "cluster" / "chat" / "old.json").exists()


def test_other_files_are_never_replaced(small: Served, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(UsageError) as caught:
            live.write(options(small, tmp_path), out, force=force)
        assert caught.value.message == f"`{out}` holds other files (`thesis.txt`)"
    assert files(out) == ["thesis.txt"]
    assert small.asked == []


def test_file_in_the_way_is_said(small: Served, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="is not a directory"):
        live.write(options(small, tmp_path), tmp_path / "out")
    with pytest.raises(UsageError, match=r"`.*/out/deeper` cannot be written: not a directory"):
        live.write(options(small, tmp_path), tmp_path / "out" / "deeper")


def test_failed_reading_leaves_the_older_snapshot(small: Served, tmp_path: Path) -> None:
    out = tmp_path / "out"
    live.write(options(small, tmp_path), out)
    before = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in files(out)}
    small.tokens.clear()
    with pytest.raises(ClusterError):
        live.write(options(small, tmp_path), out, force=True)
    assert {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in files(out)} == before


def test_names_that_leave_the_directory_are_not_written(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    folder.begin()
    folder.add_page(
        "pods",
        b'{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"namespace":"../..","name":"x"}}]}',
    )
    folder.add_log(("..", "..", "x", False), "text")
    folder.add_scrape(("a/b", "c"), 1.0, "text")
    folder.finish(directory.read(Path(__file__).parent / "small").source)
    assert files(tmp_path) == ["out/cluster/_empty.json", "out/snapshot.yaml"]
