"""Series of pods and nodes, twice through the API server's proxy, from wherever the pod says they are."""

from dataclasses import replace
from typing import Any

import pytest

from tests.live.conftest import SMALL, Reader
from tests.live.served import Answer, Served, Trouble
from tillerman.cluster import directory
from tillerman.cluster.index import Source
from tillerman.cluster.live.api import POD
from tillerman.cluster.live.scrapes import Place, Target, targets, unseen
from tillerman.cluster.parse import parsed
from tillerman.cluster.snapshot import Snapshot

Manifest = dict[str, Any]
WAIT_S = 1.0


def pod(container: Manifest, annotations: dict[str, str] | None = None) -> Manifest:
    status = {"name": "c", "ready": True, "state": {"running": {}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "annotations": annotations or {}},
        "spec": {"nodeName": "gpu-1", "containers": [{"name": "c", **container}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [status]},
    }


def found(manifest: Manifest) -> list[Target]:
    source = Source(kind="live", name="t", taken_at=directory.read(SMALL).now)
    return targets(Snapshot(source=source, pods=tuple(parsed([manifest]).pods)))


VLLM = {"image": "vllm/vllm-openai:v0.32.0"}
KSERVE = {"prometheus.kserve.io/port": "8080", "prometheus.kserve.io/path": "/metrics"}


@pytest.mark.parametrize(
    ("container", "annotations", "places", "tls"),
    [
        (VLLM, {}, [Place(8000)], False),
        ({**VLLM, "ports": [{"containerPort": 8080}]}, {}, [Place(8080)], False),
        (
            {**VLLM, "args": ["--port=8200"], "ports": [{"containerPort": 8000}]},
            {},
            [Place(8200), Place(8000)],
            False,
        ),
        ({**VLLM, "args": ["--port", "8080"]}, KSERVE, [Place(8080), Place(8000)], False),
        (VLLM, {"prometheus.io/port": "9", "prometheus.io/path": "/m"}, [Place(9, "/m"), Place(8000)], False),
        ({**VLLM, "args": ["--ssl-certfile=/tls/tls.crt"]}, {}, [Place(8000)], True),
        (VLLM, {"prometheus.io/scheme": "https", "prometheus.io/port": "http"}, [Place(8000)], True),
        ({"image": "lmsysorg/sglang:v0.5.3"}, {}, [Place(30000)], False),
    ],
)
def test_server_is_scraped_where_it_says(
    container: Manifest, annotations: dict[str, str], places: list[Place], tls: bool
) -> None:
    assert found(pod(container, annotations)) == [
        Target(namespace="n", pod="p", places=tuple(places), tls=tls)
    ]


@pytest.mark.parametrize(
    ("container", "places", "node"),
    [
        ({"image": "ghcr.io/llm-d/llm-d-inference-scheduler:v0.3.0"}, [Place(9090)], ""),
        ({"image": "registry.k8s.io/gateway-api-inference-extension/epp:v1.5.0"}, [Place(9090)], ""),
        (
            {"image": "x/y:1", "args": ["--pool-name", "a", "--metrics-port", "9091"]},
            [Place(9091), Place(9090)],
            "",
        ),
        ({"image": "nvcr.io/nvidia/k8s/dcgm-exporter:4.5.3"}, [Place(9400)], "gpu-1"),
    ],
)
def test_pickers_and_exporters_are_scraped_too(container: Manifest, places: list[Place], node: str) -> None:
    assert found(pod(container)) == [Target(namespace="n", pod="p", places=tuple(places), node=node)]


def test_nothing_else_is_scraped() -> None:
    stopped = pod(VLLM)
    stopped["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    assert found(pod({"image": "nginx:1.29"})) == []
    assert found(stopped) == []


def test_tls_is_asked_of_the_proxy() -> None:
    target = Target(namespace="n", pod="p", places=(), tls=True)
    assert target.url(Place(8000)) == "/api/v1/namespaces/n/pods/https:p:8000/proxy/metrics"


def test_two_scrapes_give_rates(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="picker|dcgm", answer=Answer(status=503)))
    snapshot = reader.read(small)
    server = snapshot.pod("chat", "llama-0")
    assert server is not None
    series = snapshot.series(server)
    moment = snapshot.now.timestamp()
    assert [one.at_s for one in series.scrapes] == [moment, moment + 5.0]
    assert (series.value("waiting"), series.rate("generated")) == (3.0, 100.0)
    assert reader.waits == [5.0]


def test_exporter_gives_the_series_of_its_node(small: Served, reader: Reader) -> None:
    snapshot = reader.read(small)
    exporter, picker = snapshot.pod("rag", "dcgm-exporter-x7k2p"), snapshot.pod("chat", "picker-0")
    assert exporter is not None
    assert picker is not None
    assert snapshot.gpu_series("gpu-1").value("DCGM_FI_DEV_FB_USED", gpu="0") == 20480.0
    assert not snapshot.series(exporter)
    assert not snapshot.gpu_series("gpu-2")
    assert snapshot.series(picker).value("epp_ready") == 1.0


def test_next_place_is_tried_when_the_first_refuses(small: Served, reader: Reader) -> None:
    small.ports["picker-0"] = 9090
    small.troubles.append(Trouble(matching="llama-0:8000", answer=Answer(status=404)))
    snapshot = reader.read(small)
    picker = snapshot.pod("chat", "picker-0")
    assert picker is not None
    assert snapshot.series(picker)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            Answer(
                status=503, message="error trying to reach service: dial tcp 1.2.3.4:8000: connect: refused"
            ),
            "refused",
        ),
        (Answer(status=401, body=b"Authentication failed"), "HTTP 401 Unauthorized"),
        (Answer(status=0), f"no answer within {WAIT_S:g} s"),
        (Answer(status=200, body=b"<html></html>"), "not a scrape"),
        (Answer(status=403), "forbidden"),
        (Answer(status=500, message="broken"), "broken"),
    ],
)
def test_pod_that_refuses_is_not_seen(
    small: Served, reader: Reader, monkeypatch: pytest.MonkeyPatch, answer: Answer, why: str
) -> None:
    monkeypatch.setattr("tillerman.cluster.live.scrapes.POD", replace(POD, longest_s=WAIT_S))
    small.troubles.append(Trouble(matching="llama-0:8000", answer=answer))
    snapshot = reader.read(small)
    assert snapshot.source.not_seen == ("secrets", f"metrics of chat/llama-0: {why}")
    assert sum("llama-0:8000" in one for one in small.asked) == 1


def test_forbidden_proxy_is_one_line(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="/proxy/", answer=Answer(status=403)))
    assert reader.read(small).source.not_seen == ("secrets", "metrics: forbidden")


def test_reason_that_many_share_is_one_line() -> None:
    several = [Target(namespace="n", pod=f"p{number}", places=()) for number in range(9)]
    assert unseen((target, "refused") for target in several) == [
        "metrics of 9 pods: refused: n/p0, n/p1, n/p2, ..."
    ]
    assert unseen((target, "refused") for target in several[:1]) == ["metrics of n/p0: refused"]


def test_second_scrape_that_fails_leaves_the_first(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="llama-0:8000", skip=1, answer=Answer(status=503, message="gone")))
    snapshot = reader.read(small)
    server = snapshot.pod("chat", "llama-0")
    assert server is not None
    assert snapshot.series(server).value("waiting") == 3.0
    assert snapshot.series(server).rate("generated") is None
    line = "metrics of chat/llama-0: scraped once, so no rates: gone"
    assert snapshot.source.not_seen == ("secrets", line)


def test_text_that_is_no_scrape_costs_only_itself(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="llama-0:8000", answer=Answer(status=200, body=b'a{b="c} 1\n')))
    reading = reader.reading(small)
    server = reading.snapshot.pod("chat", "llama-0")
    assert server is not None
    assert not reading.snapshot.series(server)
    assert reading.scraped.problems[0].startswith("metrics of chat/llama-0: not a scrape: ")
