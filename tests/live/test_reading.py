"""A cluster read through its API server is the cluster that its files hold."""

import gc
import threading
from operator import attrgetter
from pathlib import Path

import pytest

from tests.live.conftest import RECORDED, Reader
from tests.live.served import Served, kubeconfig
from tillerman.cluster import directory, live
from tillerman.cluster.logs import Log
from tillerman.cluster.snapshot import Snapshot
from tillerman.errors import UsageError
from tillerman.patterns.diagnosis import diagnose

identity = attrgetter("kind", "metadata.namespace", "metadata.name")


def test_live_cluster_equals_its_directory(recorded: Served, reader: Reader) -> None:
    live_one, files = reader.read(recorded), directory.read(RECORDED)
    for field in ("pods", "nodes", "events"):
        assert sorted(getattr(live_one, field), key=identity) == sorted(getattr(files, field), key=identity)
    assert {o.ref: o.raw for o in live_one.objects} == {o.ref: o.raw for o in files.objects}
    assert live_one.now == files.now
    assert files.kinds <= live_one.kinds


def test_diagnosis_is_the_same_live_and_from_files(recorded: Served, reader: Reader) -> None:
    """The scrapes lie a minute apart, as in the files; only their times differ."""
    found = diagnose(reader.read(recorded, scrape_gap_s=60.0)).findings
    expected = diagnose(directory.read(RECORDED)).findings
    assert [(f.id, f.root, f.changes) for f in found] == [(f.id, f.root, f.changes) for f in expected]


def test_only_needed_kinds_are_asked_for_and_never_secrets(small: Served, reader: Reader) -> None:
    snapshot = reader.read(small)
    lists = sorted({path.split("?")[0] for path in small.asked if "limit=500" in path})
    assert lists == [
        "/api/v1/configmaps",
        "/api/v1/events",
        "/api/v1/limitranges",
        "/api/v1/namespaces",
        "/api/v1/nodes",
        "/api/v1/persistentvolumeclaims",
        "/api/v1/persistentvolumes",
        "/api/v1/pods",
        "/api/v1/resourcequotas",
        "/api/v1/serviceaccounts",
        "/api/v1/services",
        "/apis/apps/v1/daemonsets",
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/replicasets",
        "/apis/apps/v1/statefulsets",
        "/apis/batch/v1/cronjobs",
        "/apis/batch/v1/jobs",
        "/apis/inference.networking.k8s.io/v1/inferencepools",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/rolebindings",
        "/apis/rbac.authorization.k8s.io/v1/roles",
    ]
    assert "Secret" not in snapshot.kinds
    assert snapshot.source.not_seen == ("secrets",)
    assert (snapshot.source.kind, snapshot.source.name) == ("live", "test")


def test_empty_kinds_are_seen_and_absent_ones_are_not(small: Served, reader: Reader) -> None:
    snapshot = reader.read(small)
    assert snapshot.sees("Deployment")
    assert not snapshot.sees("InferenceService")


def test_every_version_is_asked_and_the_preferred_one_wins(small: Served, reader: Reader) -> None:
    pools = {"inferencepools": ("InferencePool", True)}
    small.kinds["inference.networking.k8s.io", "v1alpha2"] = {
        **pools,
        "inferencemodels": ("InferenceModel", True),
    }
    small.preferred["inference.networking.k8s.io"] = ["v1alpha2", "v1"]
    reader.read(small)
    asked = [path.split("?")[0] for path in small.asked if "networking" in path and "limit" in path]
    assert sorted(asked) == [
        "/apis/inference.networking.k8s.io/v1alpha2/inferencemodels",
        "/apis/inference.networking.k8s.io/v1alpha2/inferencepools",
    ]


def test_named_namespaces_are_read_alone_with_what_has_none(small: Served, reader: Reader) -> None:
    snapshot = reader.read(small, namespaces=("rag",))
    assert [pod.name for pod in snapshot.pods] == ["dcgm-exporter-x7k2p"]
    assert [node.name for node in snapshot.nodes] == ["gpu-1"]
    assert [o.name for o in snapshot.all("Namespace")] == ["chat", "rag"]
    assert snapshot.source.not_seen == ("secrets", "namespaces other than rag")
    assert not [path for path in small.asked if path.startswith("/api/v1/pods")]


def test_unknown_namespace_is_a_usage_error(small: Served, reader: Reader) -> None:
    with pytest.raises(UsageError) as caught:
        reader.read(small, namespaces=("chatt",))
    assert caught.value.message == f"there is no namespace `chatt` on `{small.url}` (`test`)"
    assert caught.value.hint == "`kubectl get namespaces` lists them"


def test_secrets_are_masked_wherever_they_stand(small: Served, reader: Reader) -> None:
    snapshot = reader.read(small)
    pod = snapshot.pod("chat", "llama-0")
    settings = snapshot.get("ConfigMap", "rag", "settings")
    assert pod is not None
    assert settings is not None
    assert pod.spec.containers[0].args[-2:] == ("--api-key", "***")
    assert pod.spec.containers[0].env[0].value == "***"
    assert pod.metadata.annotations == {"example.com/auth-token": "***"}
    assert settings.raw["data"] == {"API_KEY": "***", "MAX_LEN": "8192"}
    assert [event.message.rsplit(" ", 1)[-1] for event in snapshot.events] == ["--api-key=***"]
    assert not [text for text in (repr(snapshot.pods), repr(snapshot.events)) if "not-for-anyone" in text]


def test_progress_says_what_is_done(small: Served, reader: Reader) -> None:
    reader.read(small)
    assert reader.said == [
        f"reading `test` at {small.url}",
        "reading 22 kinds",
        "reading 2 logs and the metrics of 3 pods",
    ]


def test_logs_are_read_from_plain_code_until_the_snapshot_is_dropped(small: Served, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "kubeconfig", small.url)
    snapshot: Snapshot | None = live.read(live.Options(kubeconfig=path, scrape_gap_s=0.0, timeout_s=5.0))
    assert snapshot is not None
    asked = len(small.asked)
    text = "INFO 11-24 08:00:00 [api_server.py:1] vLLM API server version 0.32.0\n"
    assert snapshot.logs.read("chat", "llama-0", "vllm") == Log(text=text)
    assert snapshot.logs.read("chat", "llama-0", "vllm") == Log(text=text)
    assert snapshot.logs.read("chat", "llama-0", "vllm", previous=True) is None
    assert len(small.asked) == asked + 2
    thread = next(t for t in threading.enumerate() if t.name == "tillerman-live")
    del snapshot
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
