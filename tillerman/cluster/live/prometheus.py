"""The same series out of a Prometheus that has scraped them already, as scrapes of each pod and node."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import httpx
import msgspec

from tillerman.cluster.live.scrapes import Scraped, Target, unseen
from tillerman.cluster.masking import masked_text
from tillerman.cluster.snapshot import Snapshot
from tillerman.errors import UsageError

#: One query each, so that no answer holds all: the families that answer questions (`cluster.metrics.NAMES`).
FAMILIES = (
    "vllm:.+",
    "sglang:.+",
    "tgi_.+",
    "trtllm_.+",
    "DCGM_.+",
    "llm_d_epp_.+",
    "inference_(pool|objective)_.+",
)
#: Three readings over two minutes: a multiple of the usual scrape intervals (15 to 60 s), so rates are exact.
WINDOW_S = 120
STEP_S = 60
TIMEOUT_S = 30.0
LARGEST_ANSWER_BYTES = 512 * 1024**2

#: Labels that name the scraped pod, by how Prometheus was set up. Sources: the ServiceMonitors of
#: prometheus-operator, the Prometheus Helm chart, the example configuration of Prometheus (`kubernetes_*`).
_POD = ("pod", "kubernetes_pod_name", "pod_name", "exported_pod")
_NAMESPACE = ("namespace", "kubernetes_namespace", "exported_namespace")
_NODE = ("node", "Hostname", "hostname", "kubernetes_node", "nodename")

Labels = dict[str, str]


class _Row(msgspec.Struct):
    metric: Labels
    values: list[tuple[float, str]]


class _Rows(msgspec.Struct, rename={"rows": "result"}):
    rows: list[_Row] = []


class _Found(msgspec.Struct):
    status: str = ""
    error: str = ""
    data: _Rows = msgspec.field(default_factory=_Rows)


@dataclass(frozen=True, kw_only=True)
class Whose:
    """Finds the pod or node behind the labels of a series."""

    snapshot: Snapshot
    by_address: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Whose":
        """The look-up for the pods and nodes of a snapshot."""
        found = {pod.status.pod_ip: (pod.namespace, pod.name) for pod in snapshot.pods if pod.status.pod_ip}
        return cls(snapshot=snapshot, by_address=found)

    def pod(self, labels: Labels) -> tuple[str, str] | None:
        """Namespace and name of the scraped pod, or None when it is none of the snapshot's."""
        for namespace in _values(labels, _NAMESPACE):
            for name in _values(labels, _POD):
                if self.snapshot.pod(namespace, name):
                    return namespace, name
        return self.by_address.get(_host(labels))

    def node(self, labels: Labels) -> str:
        """The node whose GPUs a DCGM series is about, or "" when it is none of the snapshot's."""
        for name in _values(labels, _NODE):
            if self.snapshot.node(name):
                return name
        exporters = [(ns, name) for ns in _values(labels, _NAMESPACE) for name in _values(labels, _POD)]
        exporters += [self.by_address.get(_host(labels), ("", ""))]
        found = (self.snapshot.pod(*each) for each in exporters)
        pod = next(
            (one for one in found if one and any("dcgm" in c.image for c in one.spec.containers)), None
        )
        if pod:
            return pod.spec.node_name
        address = _host(labels)
        return address if self.snapshot.node(address) else ""


def _values(labels: Labels, names: tuple[str, ...]) -> Iterator[str]:
    return (labels[name] for name in names if labels.get(name))


def _host(labels: Labels) -> str:
    return labels.get("instance", "").rsplit(":", 1)[0].strip("[]")


def address(url: str) -> httpx.URL:
    """The address of a Prometheus.

    Raises: UsageError when it is none.
    """
    try:
        where = httpx.URL(url)
    except httpx.InvalidURL:
        where = httpx.URL("")
    if where.scheme not in ("http", "https") or not where.host:
        raise UsageError(
            f"`{url}` is not the address of a Prometheus", "it looks like http://prometheus.monitoring:9090"
        )
    return where


async def read_prometheus(
    where: httpx.URL, snapshot: Snapshot, wanted: list[Target], now_s: float
) -> tuple[Scraped, list[str]]:
    """Series of the last two minutes of every pod and node there are any of, and what could not be seen."""
    async with httpx.AsyncClient(timeout=TIMEOUT_S, base_url=where) as client:
        answers = await asyncio.gather(*(_family(client, family, now_s) for family in FAMILIES))
    whose, texts = Whose.of(snapshot), dict[tuple[tuple[str, str] | str, float], list[str]]()
    for row in (row for rows in answers if isinstance(rows, list) for row in rows):
        name = row.metric.get("__name__", "")
        key = whose.node(row.metric) if name.startswith("DCGM_") else whose.pod(row.metric)
        for at_s, value in row.values if key else ():
            texts.setdefault((key or "", at_s), []).append(f"{_series(name, row.metric)} {value}")
    scraped = Scraped()
    for (key, at_s), lines in sorted(texts.items(), key=lambda item: item[0][1]):
        scraped.keep(key, at_s, "\n".join([*lines, ""]).encode())
    trouble = [f"metrics: Prometheus at `{where.host}`: {why}" for why in answers if isinstance(why, str)]
    return scraped, list(dict.fromkeys(trouble)) or unseen(_silent(scraped, wanted))


def _silent(scraped: Scraped, wanted: list[Target]) -> Iterator[tuple[Target, str]]:
    for target in wanted:
        found = (
            scraped.nodes.get(target.node)
            if target.node
            else scraped.pods.get((target.namespace, target.pod))
        )
        if not found:
            yield target, "Prometheus has none"


async def _family(client: httpx.AsyncClient, family: str, now_s: float) -> list[_Row] | str:
    """The rows of one family, or why there are none."""
    query: dict[str, str | float] = {
        "query": f'{{__name__=~"{family}"}}',
        "start": now_s - WINDOW_S,
        "end": now_s,
        "step": STEP_S,
    }
    body = bytearray()
    try:
        async with client.stream("GET", "api/v1/query_range", params=query) as response:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > LARGEST_ANSWER_BYTES:
                    return "the answer is too large"
        found = msgspec.json.decode(body, type=_Found)
    except httpx.TimeoutException:
        return f"no answer within {TIMEOUT_S:g} s"
    except httpx.HTTPError as error:
        return masked_text(str(error).lower() or "the connection broke")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"HTTP {response.status_code}, not an answer of a Prometheus"
    return (
        found.data.rows
        if found.status == "success"
        else masked_text(found.error or f"HTTP {response.status_code}")
    )


def _series(name: str, labels: Labels) -> str:
    """A series as its exporter wrote it: labels that Prometheus renamed get their name back."""
    kept = {key: value for key, value in labels.items() if key != "__name__"}
    for key in [key for key in kept if key.startswith("exported_")]:
        kept[key.removeprefix("exported_")] = kept.pop(key)
    words = [f'{key}="{_escaped(value)}"' for key, value in sorted(kept.items())]
    return f"{name}{{{','.join(words)}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
