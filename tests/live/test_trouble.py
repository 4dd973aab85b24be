"""What an API server may do to its reader: each trouble is survived, not seen, or ends in one clear line."""

import socket
from pathlib import Path

import pytest

from tests.live.conftest import Reader
from tests.live.served import Answer, Served, Trouble
from tillerman.cluster.live.api import CONCURRENCY
from tillerman.cluster.live.connection import connect
from tillerman.errors import ClusterError, Forbidden, Unreachable

TOO_MANY = Answer(status=429, headers={"Retry-After": "3"})
BROKEN = Answer(status=500, message="etcdserver: leader changed")
FORBIDDEN = Answer(status=403, message="pods is forbidden: User cannot list resource")


def asked(served: Served, path: str) -> int:
    return sum(one.split("?")[0] == path for one in served.asked)


def test_pages_are_followed_to_the_last(
    small: Served, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tillerman.cluster.live.listing.PAGE", 1)
    snapshot = reader.read(small)
    pages = [one.partition("?")[2] for one in small.asked if one.startswith("/api/v1/pods")]
    assert pages == ["limit=1", "limit=1&continue=1+/=", "limit=1&continue=2+/=", "limit=1&continue=3+/="]
    assert [pod.name for pod in snapshot.pods] == ["llama-0", "llama-1", "picker-0", "dcgm-exporter-x7k2p"]
    assert "pods: 4" in reader.said


def test_list_that_expires_is_begun_again_in_one_piece(
    small: Served, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tillerman.cluster.live.listing.PAGE", 2)
    small.troubles.append(Trouble(matching=r"^/api/v1/pods\?.*continue", answer=Answer(status=410), times=1))
    snapshot = reader.read(small)
    pages = [one.partition("?")[2] for one in small.asked if one.startswith("/api/v1/pods")]
    assert pages == ["limit=2", "limit=2&continue=2+/=", ""]
    assert [pod.name for pod in snapshot.pods] == ["llama-0", "llama-1", "picker-0", "dcgm-exporter-x7k2p"]


def test_list_that_always_expires_is_not_seen(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="^/api/v1/events", answer=Answer(status=410, message="too old")))
    snapshot = reader.read(small)
    assert snapshot.source.not_seen == ("secrets", "events: too old")
    assert asked(small, "/api/v1/events") == 2


def test_busy_server_is_asked_again_when_it_says(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="^/api/v1/pods", answer=TOO_MANY, times=2))
    assert len(reader.read(small).pods) == 4
    assert reader.waits[:2] == [3.0, 3.0]


def test_retry_after_is_capped(small: Served, reader: Reader) -> None:
    hour = Answer(status=429, headers={"Retry-After": "3600"})
    small.troubles.append(Trouble(matching="^/api/v1/pods", answer=hour, times=1))
    assert len(reader.read(small).pods) == 4
    assert reader.waits[0] == 15.0


def test_broken_server_is_asked_again_with_growing_waits(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="^/api/v1/events", answer=BROKEN))
    snapshot = reader.read(small)
    assert snapshot.source.not_seen == ("secrets", "events: etcdserver: leader changed")
    assert [wait for wait in reader.waits if wait != 5.0] == [0.5, 1.0, 2.0, 4.0]
    assert asked(small, "/api/v1/events") == 5


def test_kind_that_vanished_is_not_seen(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="inferencepools", answer=Answer(status=404)))
    snapshot = reader.read(small)
    line = "inferencepools.inference.networking.k8s.io: gone since it was discovered"
    assert snapshot.source.not_seen == ("secrets", line)
    assert not snapshot.sees("InferencePool")


def test_group_that_does_not_answer_is_not_seen(small: Served, reader: Reader) -> None:
    answer = Answer(status=503, message="service unavailable")
    small.troubles.append(Trouble(matching=r"^/apis/apps/v1$", answer=answer))
    assert reader.read(small).source.not_seen == ("secrets", "kinds of apps/v1: service unavailable")


def test_forbidden_kind_is_not_seen(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="^/api/v1/nodes", answer=FORBIDDEN))
    snapshot = reader.read(small)
    assert snapshot.source.not_seen == ("secrets", "nodes: forbidden")
    assert not snapshot.sees("Node")


def test_forbidden_namespace_costs_only_itself(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="/namespaces/rag/", answer=FORBIDDEN))
    snapshot = reader.read(small, namespaces=("chat", "rag"))
    assert [pod.name for pod in snapshot.pods] == ["llama-0", "llama-1", "picker-0"]
    assert snapshot.source.not_seen == (
        "secrets",
        "namespaces other than chat, rag",
        "everything in rag: forbidden",
    )


def test_reader_of_some_namespaces_sees_those(small: Served, reader: Reader) -> None:
    """Whoever has only RoleBindings may list nothing everywhere, and much in a few namespaces."""
    everywhere = r"^(/api/v1|/apis/[^/]+/v1)/(?!namespaces)[a-z]+\?"
    small.troubles.append(Trouble(matching="/namespaces/rag/", answer=FORBIDDEN))
    small.troubles.append(Trouble(matching=everywhere, answer=FORBIDDEN))
    snapshot = reader.read(small)
    assert [pod.name for pod in snapshot.pods] == ["llama-0", "llama-1", "picker-0"]
    assert [pool.name for pool in snapshot.all("InferencePool")] == ["llama"]
    assert snapshot.source.not_seen == (
        "secrets",
        "everything in rag: forbidden",
        "nodes: forbidden",
        "persistentvolumes: forbidden",
        "clusterroles: forbidden",
        "clusterrolebindings: forbidden",
    )


def test_nobody_is_told_what_to_bind(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching=r"\?|/namespaces/", answer=FORBIDDEN))
    with pytest.raises(Forbidden) as caught:
        reader.read(small)
    assert caught.value.message == f"`test` may not list anything on `{small.url}`"
    assert caught.value.hint.startswith("bind a ClusterRole")
    assert caught.value.exit_status == 3


def test_discovery_that_is_forbidden_leaves_the_core(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="^/apis", answer=FORBIDDEN))
    snapshot = reader.read(small)
    assert len(snapshot.pods) == 4
    assert snapshot.source.not_seen == ("secrets", "kinds beyond the core: discovery is forbidden")


def test_expired_token_is_said(small: Served, reader: Reader) -> None:
    small.tokens.clear()
    with pytest.raises(ClusterError) as caught:
        reader.read(small)
    assert caught.value.message == f"`{small.url}` does not accept the credentials of `test`"
    assert caught.value.hint.startswith("log in again")
    assert caught.value.exit_status == 3


def test_token_that_expires_midway_ends_the_reading(small: Served, reader: Reader) -> None:
    small.troubles.append(
        Trouble(matching="^/api/v1/pods", answer=Answer(status=401, message="Unauthorized"))
    )
    with pytest.raises(ClusterError, match="does not accept the credentials"):
        reader.read(small)


def test_credentials_are_renewed_once_for_all(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="limit", answer=Answer(status=401), times=3))
    assert len(reader.read(small).pods) == 4


def test_unreachable_server_is_said(reader: Reader) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Unreachable) as caught:
        reader.read(Served(root=Path(), url=url))
    assert caught.value.message == f"the API server `{url}` (`test`) cannot be reached: connection refused"
    assert reader.waits == [0.5]


def test_hanging_server_is_left(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="^/apis$", answer=Answer(status=0)))
    with pytest.raises(Unreachable, match=r"cannot be reached: no answer within 0\.2 s"):
        reader.read(small, timeout_s=0.2)
    assert asked(small, "/apis") == 2


def test_server_that_stops_answering_is_not_waited_for_kind_by_kind(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="limit", answer=Answer(status=0)))
    with pytest.raises(Unreachable, match="cannot be reached"):
        reader.read(small, timeout_s=0.2)
    assert sum("limit" in one for one in small.asked) <= 3 * CONCURRENCY


def test_list_that_hangs_is_not_seen(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="^/api/v1/events", answer=Answer(status=0)))
    snapshot = reader.read(small, timeout_s=1.0)
    assert snapshot.source.not_seen == ("secrets", "events: no answer within 1 s")
    assert len(snapshot.pods) == 4


def test_what_is_no_api_server_is_said(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="", answer=Answer(status=200, body=b"<html>log in</html>")))
    with pytest.raises(ClusterError) as caught:
        reader.read(small)
    assert caught.value.message == f"`{small.url}` answers, but not as a Kubernetes API server"


def test_list_that_is_no_list_is_not_seen(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="^/api/v1/events", answer=Answer(status=200, body=b"<html>")))
    line = "events: not an answer of a Kubernetes API server"
    assert reader.read(small).source.not_seen == ("secrets", line)


def test_redirect_is_not_taken_for_an_answer(small: Served, reader: Reader) -> None:
    """A pod behind the proxy could send us, with our credentials, to a secret on the same server."""
    away = Answer(status=302, headers={"Location": "/api/v1/namespaces/rag"}, body=b"")
    small.troubles.append(Trouble(matching="llama-0:8000", answer=away))
    snapshot = reader.read(small)
    assert snapshot.source.not_seen == (
        "secrets",
        "metrics of chat/llama-0: redirected, which is not followed",
    )


async def test_connection_names_the_server(small: Served, reader: Reader) -> None:
    reader.read(small)
    connection = await connect(None, str(reader.folder / "kubeconfig"))
    assert (connection.name, connection.server, connection.namespace) == ("test", small.url, "default")
    await connection.client.close()  # type: ignore[no-untyped-call]
