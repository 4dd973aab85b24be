"""Series out of a real Prometheus (Debian's), one that scraped them and one that has had them for a while."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.conftest import Reader
from tests.live.served import Answer, Served, Trouble, serving
from tillerman.cluster.snapshot import Snapshot
from tillerman.errors import UsageError

WAIT_S = 10.0  # Prometheus looks for its targets 5 s after it has started
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="Prometheus is not installed: apt-get install prometheus",
)

#: Two minutes of a model server, an endpoint picker and a GPU, with the labels that Prometheus adds.
HISTORY = Path(__file__).parent / "history.openmetrics"


@contextmanager
def prometheus(folder: Path, jobs: list[dict[str, Any]]) -> Iterator[str]:
    """A Prometheus on a free port of this machine, with what lies in `folder/data`, until the block ends."""
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": jobs}))
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as free:
        port = free.server_address[1]
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=100y"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            until(f"http://127.0.0.1:{port}/-/ready", "")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def until(url: str, holds: str) -> httpx.Response:
    """The first good answer that holds a text, asked for within a bound."""
    pause, said = threading.Event(), "nothing"
    for _ in range(200):
        try:
            answer = httpx.get(url, timeout=WAIT_S)
        except httpx.ConnectError as error:
            said = str(error)
        else:
            said = answer.text
            if answer.is_success and holds in said:
                return answer
        pause.wait(WAIT_S / 200)
    pytest.fail(f"{url} never said {holds!r}: {said[:500]}")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus")
    fill = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(HISTORY), str(folder / "data")]
    subprocess.run(fill, check=True, capture_output=True)
    with prometheus(folder, []) as url:
        yield url


def read(small: Served, reader: Reader, url: str) -> Snapshot:
    return reader.read(small, prometheus=url)


@needs_prometheus
def test_series_come_from_prometheus_and_not_from_the_pods(
    small: Served, reader: Reader, history: str
) -> None:
    snapshot = read(small, reader, history)
    server, picker = snapshot.pod("chat", "llama-0"), snapshot.pod("chat", "picker-0")
    assert server is not None
    assert picker is not None
    series = snapshot.series(server)
    assert [one.at_s for one in series.scrapes] == [1795514280.0, 1795514340.0, 1795514400.0]
    assert series.rate("generated") == 100.0
    assert series.value("waiting", model_name='llama "8B" a\\b') == 3.0
    assert series.quantile("vllm:time_to_first_token_seconds", 0.5) == 1.5
    assert snapshot.series(picker).value("epp_ready") == 1.0
    gpus = snapshot.gpu_series("gpu-1")
    assert gpus.value("DCGM_FI_DEV_FB_USED", pod="llama-0") == 20480.0
    assert gpus.value("DCGM_FI_DEV_FB_USED") == 20491.0
    assert snapshot.source.not_seen == ("secrets",)
    assert not [one for one in small.asked if "/proxy/" in one]
    assert reader.waits == []


@needs_prometheus
def test_pod_that_prometheus_does_not_know_is_not_seen(
    reader: Reader, recorded: Served, history: str
) -> None:
    missing = [line for line in read(recorded, reader, history).source.not_seen if "Prometheus" in line]
    assert missing == [
        "metrics of 24 pods: Prometheus has none: chat/assistant-32b-predictor-tb8mv7ncxk-9trkh, "
        "chat/assistant-70b-predictor-hhs2xzlmkq-9k4tr, chat/assistant-70b-predictor-hhs2xzlmkq-pbfd4, ..."
    ]


@needs_prometheus
@pytest.mark.slow
def test_scraped_exporter_is_seen(small: Served, reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "prometheus").mkdir()
    labels = {"namespace": "chat", "pod": "llama-0"}
    with serving(small):  # the exporter: the served cluster shows the metrics of its pods
        target = {"targets": [small.url.removeprefix("http://")], "labels": labels}
        job = {
            "job_name": "vllm",
            "scrape_interval": "2s",
            "scrape_timeout": "2s",
            "metrics_path": "/api/v1/namespaces/chat/pods/llama-0:8000/proxy/metrics",
            "authorization": {"credentials": "read-me"},
            "static_configs": [target],
        }
        with prometheus(tmp_path / "prometheus", [job]) as url:
            until(f"{url}/api/v1/query?query=vllm:num_requests_waiting", '"llama-0"')
            moment = until(f"{url}/api/v1/query?query=time()", "success").json()["data"]["result"][0]
            small.moves_to(moment + 1)
            snapshot = read(small, reader, url)
    server = snapshot.pod("chat", "llama-0")
    assert server is not None
    assert snapshot.series(server).value("waiting", job="vllm") == 3.0
    assert snapshot.series(server).value("generated") in (1000.0, 1500.0)


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://prometheus", "http://", "http://[::1", ""])
def test_what_is_no_address_is_a_usage_error(small: Served, reader: Reader, url: str) -> None:
    if not url:
        assert reader.read(small, prometheus=url).pods
        return
    with pytest.raises(UsageError) as caught:
        read(small, reader, url)
    assert caught.value.message == f"`{url}` is not the address of a Prometheus"
    assert small.asked == []


def test_prometheus_that_does_not_answer_is_not_seen(small: Served, reader: Reader) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as free:
        port = free.server_address[1]
    snapshot = read(small, reader, f"http://127.0.0.1:{port}")
    line = "metrics: Prometheus at `127.0.0.1`: all connection attempts failed"
    assert snapshot.source.not_seen == ("secrets", line)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(status=200, body=b"<html>"), "HTTP 200, not an answer of a Prometheus"),
        (Answer(status=401, body=b"Unauthorized"), "HTTP 401, not an answer of a Prometheus"),
        (Answer(status=422, body=b'{"status":"error","error":"too many samples"}'), "too many samples"),
    ],
)
def test_prometheus_that_refuses_is_not_seen(small: Served, reader: Reader, answer: Answer, why: str) -> None:
    small.troubles.append(Trouble(matching="query_range", answer=answer))
    snapshot = read(small, reader, small.url)
    assert snapshot.source.not_seen == ("secrets", f"metrics: Prometheus at `127.0.0.1`: {why}")
