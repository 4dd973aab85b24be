"""Scrapes of /metrics through the API server's pod proxy, twice, so that there are rates."""

import asyncio
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tillerman.cluster.live.api import POD, Api, Refused
from tillerman.cluster.metrics import NO_SERIES, Scrape, Series, scrape
from tillerman.cluster.model import Container, Labels, Pod
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot

#: A scrape above this is no scrape: vLLM's largest are below 1 MiB.
LARGEST_SCRAPE_BYTES = 16 * 1024**2

#: Where an engine listens when nobody says. Sources: vLLM 0.32, SGLang 0.5, TGI 3.3 and trtllm-serve 1.0.
ENGINE_PORTS = {"vllm": 8000, "sglang": 30000, "tgi": 80, "trtllm": 8000}
EPP_PORT = 9090  # llm-d router 0.10, `--metrics-port`
DCGM_PORT = 9400  # dcgm-exporter 4, `DCGM_EXPORTER_LISTEN`
_EPP = re.compile(r"endpoint-picker|inference-scheduler|(?:^|[/-])epp(?:[:@-]|$)")
_DCGM = re.compile(r"dcgm-exporter")
_TLS_FLAGS = ("ssl-certfile", "ssl-keyfile")
#: Places tried for one pod, the likeliest first.
MOST_PLACES = 3
#: Pods named one by one when the same thing keeps their series from being seen.
MOST_LINES = 8
HIGHEST_PORT = 65535

Name = tuple[str, str]


class Place(NamedTuple):
    """A port and a path that may answer with series."""

    port: int
    path: str = "/metrics"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One pod with series: the likely places of its /metrics, and the node when they are the node's."""

    namespace: str
    pod: str
    places: tuple[Place, ...]
    tls: bool = False
    node: str = ""

    def url(self, place: Place) -> str:
        """Where the API server's proxy shows it."""
        scheme = "https:" if self.tls else ""
        path = place.path.lstrip("/")
        return f"/api/v1/namespaces/{self.namespace}/pods/{scheme}{self.pod}:{place.port}/proxy/{path}"


@dataclass(kw_only=True)
class Scraped:
    """Scrapes as text, by pod and by node, oldest first; read into series when asked for."""

    pods: dict[Name, list[tuple[float, bytes]]] = field(default_factory=dict)
    nodes: dict[str, list[tuple[float, bytes]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _series: dict[Name | str, Series] = field(default_factory=dict)

    def keep(self, whose: Name | str, at_s: float, text: bytes) -> None:
        """Keeps one scrape of a pod or a node, packed: a large cluster has hundreds of megabytes."""
        packed = (at_s, zlib.compress(text, 1))
        if isinstance(whose, str):
            self.nodes.setdefault(whose, []).append(packed)
        else:
            self.pods.setdefault(whose, []).append(packed)

    def of_pod(self, namespace: str, pod: str) -> Series:
        """The scrapes of a pod, oldest first."""
        return self._read((namespace, pod), self.pods.get((namespace, pod), []), f"{namespace}/{pod}")

    def of_node(self, node: str) -> Series:
        """The scrapes of a node's DCGM exporter, oldest first."""
        return self._read(node, self.nodes.get(node, []), node)

    def texts(self) -> Iterator[tuple[Name | str, float, str]]:
        """Every scrape: whose it is, when, and its text."""
        for table in (self.pods, self.nodes):
            for name, found in table.items():
                yield from ((name, at_s, _text(packed)) for at_s, packed in found)

    def _read(self, key: Name | str, packed: list[tuple[float, bytes]], title: str) -> Series:
        if not packed:
            return NO_SERIES
        if key not in self._series:
            found = (self._scrape(at_s, one, title) for at_s, one in packed)
            self._series[key] = Series(scrapes=tuple(one for one in found if one))
        return self._series[key]

    def _scrape(self, at_s: float, packed: bytes, title: str) -> Scrape | None:
        try:
            return scrape(_text(packed), at_s)
        except (ValueError, KeyError, IndexError) as error:
            self.problems.append(f"metrics of {title}: not a scrape: {str(error)[:200]}")
            return None


def _text(packed: bytes) -> str:
    return zlib.decompress(packed).decode("utf-8", "replace")


def targets(snapshot: Snapshot) -> list[Target]:
    """What to scrape: every model server, endpoint picker and DCGM exporter that runs."""
    found = [_server(server) for server in snapshot.servers if _runs(server.pod, server.container)]
    for pod in snapshot.pods:
        if not snapshot.server_of(pod):
            special = (_special(pod, one) for one in pod.spec.containers if _runs(pod, one))
            found += [target for target in special if target][:1]
    return found


def _runs(pod: Pod, container: Container) -> bool:
    """Whether a container runs: one that does not has no series that could be missed."""
    status = pod.status_of(container.name)
    return bool(pod.status.pod_ip and status and status.state.running)


def _server(server: Server) -> Target:
    pod, container = server.pod, server.container
    notes = pod.metadata.annotations
    said = [server.number(name) for name in ("port", "http-port")]
    ports = [p.container_port for p in container.ports] or [ENGINE_PORTS.get(server.engine, 8000)]
    places = [*(Place(int(port)) for port in said if port), *_annotated(notes), *map(Place, ports)]
    tls = any(server.flag(name) for name in _TLS_FLAGS) or notes.get("prometheus.io/scheme") == "https"
    return Target(namespace=pod.namespace, pod=pod.name, places=_first(places), tls=tls)


def _special(pod: Pod, container: Container) -> Target | None:
    """An endpoint picker's or a DCGM exporter's metrics, or None for any other container."""
    image = container.image.rsplit("@", 1)[0]
    if _DCGM.search(image):
        places = [*(Place(p.container_port) for p in container.ports), Place(DCGM_PORT)]
        return Target(namespace=pod.namespace, pod=pod.name, places=_first(places), node=pod.spec.node_name)
    words = (*container.command, *container.args)
    if _EPP.search(image.rsplit("/", 1)[-1]) or any(
        word.lstrip("-").startswith("pool-name") for word in words
    ):
        named = [Place(p.container_port) for p in container.ports if "metrics" in p.name]
        places = [*_flagged(words, "metrics-port"), *named, Place(EPP_PORT)]
        return Target(namespace=pod.namespace, pod=pod.name, places=_first(places))
    return None


def _flagged(words: tuple[str, ...], name: str) -> list[Place]:
    found = re.search(rf"(?:^| )--?{name}[= ](\d+)(?: |$)", " ".join(words))
    return [Place(int(found[1]))] if found else []


def _annotated(notes: Labels) -> Iterator[Place]:
    """Where the annotations that Prometheus setups and KServe read say it is."""
    for prefix in ("prometheus.io", "prometheus.kserve.io"):
        port = notes.get(f"{prefix}/port", "")
        if port.isdigit():
            yield Place(int(port), notes.get(f"{prefix}/path") or "/metrics")


def _first(places: Iterable[Place]) -> tuple[Place, ...]:
    return tuple(dict.fromkeys(place for place in places if 0 < place.port <= HIGHEST_PORT))[:MOST_PLACES]


async def scrape_twice(api: Api, wanted: list[Target], gap_s: float) -> tuple[Scraped, list[str]]:
    """Two scrapes of each target, `gap_s` seconds apart, and what could not be seen, one line each."""
    scraped = Scraped()
    problems = await asyncio.gather(*(_twice(api, target, gap_s, scraped) for target in wanted))
    if len(wanted) > 1 and all(problem == "forbidden" for problem in problems):
        return scraped, ["metrics: forbidden"]
    return scraped, unseen((target, why) for target, why in zip(wanted, problems, strict=True) if why)


def unseen(problems: Iterable[tuple[Target, str]]) -> list[str]:
    """One line for each target without series, or for each reason that many of them share."""
    by_reason: dict[str, list[str]] = {}
    for target, why in problems:
        by_reason.setdefault(why, []).append(f"{target.namespace}/{target.pod}")
    lines = []
    for why, names in by_reason.items():
        if len(names) > MOST_LINES:
            lines.append(f"metrics of {len(names)} pods: {why}: {', '.join(names[:3])}, ...")
        else:
            lines += [f"metrics of {name}: {why}" for name in names]
    return lines


async def _twice(api: Api, target: Target, gap_s: float, scraped: Scraped) -> str:
    """Why a target could not be read, or "" when it could."""
    place, why = await _first_answer(api, target, scraped)
    if place is None:
        return why
    await api.timing.sleep(gap_s)
    try:
        await _once(api, target, place, scraped)
    except Refused as refused:
        return f"scraped once, so no rates: {refused.reason}"
    return ""


async def _first_answer(api: Api, target: Target, scraped: Scraped) -> tuple[Place | None, str]:
    """The place that answered; or None, and the reason of the likeliest one."""
    why = ""
    for place in target.places:
        try:
            await _once(api, target, place, scraped)
        except Refused as refused:
            why = why or refused.reason
            if refused.silent or refused.forbidden:  # another port would be just as silent, or as forbidden
                break
        else:
            return place, ""
    return None, why or "no port is known"


async def _once(api: Api, target: Target, place: Place, scraped: Scraped) -> None:
    answer = await api.get(target.url(place), effort=POD, limit=LARGEST_SCRAPE_BYTES)
    at_s = api.now_s()
    if not answer.complete:
        raise Refused(200, "too large for a scrape")
    if answer.body.lstrip()[:1] in (b"<", b"{"):
        raise Refused(200, "not a scrape")
    scraped.keep(target.node or (target.namespace, target.pod), at_s, answer.body)
