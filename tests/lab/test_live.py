"""The recorded cluster in a real API server is read, over TLS and through RBAC, as the files it came from."""

import json
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest
from tillerman_lab.control_plane import ControlPlane
from tillerman_lab.fixtures import StartControlPlane

from tests.live.served import Served, kubeconfig
from tillerman.cluster import directory, live
from tillerman.cluster.snapshot import Snapshot
from tillerman.errors import ClusterError, Forbidden, Unreachable
from tillerman.patterns.diagnosis import diagnose

RECORDED = Path(__file__).parents[2] / "tillerman" / "recorded"


def options(server: ControlPlane, identity: str) -> live.Options:
    return live.Options(context=f"lab-{identity}", kubeconfig=str(server.kubeconfig), scrape_gap_s=1.0)


@pytest.fixture
def server(start_control_plane: StartControlPlane) -> ControlPlane:
    found = start_control_plane("crds", recordings=RECORDED)
    loaded = found.load(Served(root=RECORDED).manifests)
    assert loaded.refused == []
    return found


def names(snapshot: Snapshot, field: str) -> list[str]:
    return sorted(map(attrgetter("metadata.name"), getattr(snapshot, field)))


def test_recorded_cluster_is_the_same_behind_a_real_server(
    server: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tillerman.cluster.live.listing.PAGE", 20)  # so that real tokens continue real lists
    files, alive = directory.read(RECORDED), live.read(options(server, "admin"))
    for field in ("pods", "nodes"):
        assert names(alive, field) == names(files, field)
    assert {o.ref.key for o in files.objects} - {o.ref.key for o in alive.objects} == set()
    then = replace(alive, source=replace(alive.source, taken_at=files.now))
    assert [f.id for f in diagnose(then).findings] == [f.id for f in diagnose(files).findings]
    written = live.write(options(server, "admin"), tmp_path / "out")
    again = directory.read(tmp_path / "out")
    assert names(again, "pods") == names(files, "pods")
    assert again.source.not_seen == written.not_seen


def test_each_is_told_what_it_may_not_see(control_plane: ControlPlane, tmp_path: Path) -> None:
    """The role `view` is empty without its controller: the reader lists nodes and custom resources only."""
    snapshot = live.read(options(control_plane, "reader"))
    assert snapshot.sees("Node")
    assert snapshot.sees("InferenceService")
    assert {"secrets", "pods: forbidden", "deployments: forbidden"} < set(snapshot.source.not_seen)
    with pytest.raises(Forbidden, match="`lab-nobody` may not list anything"):
        live.read(options(control_plane, "nobody"))
    config = json.loads(control_plane.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "expired"
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    context = config["contexts"][0]["name"]
    with pytest.raises(ClusterError, match=f"does not accept the credentials of `{context}`"):
        live.read(live.Options(kubeconfig=str(tmp_path / "kubeconfig"), context=context))
    path = kubeconfig(tmp_path / "stranger", control_plane.url)
    with pytest.raises(Unreachable, match="its certificate is not accepted: self-signed certificate"):
        live.read(live.Options(kubeconfig=path))
