"""The engine stands still with requests in work, while its health endpoint goes on saying that all is well.

What happens
The health endpoint reads a flag that is set when the engine's process dies. A worker that waits for ever,
in a collective operation or on a shared memory queue, does not die: nothing moves, nothing fails, the pod
stays Ready and keeps getting requests, each of which waits until its client gives up.

How it shows
`vllm:num_requests_running` above zero in every scrape while the count of engine steps and of generated
tokens does not grow; `No available shared memory broadcast block found in 60 seconds` as the last thing in
the log; a lively peer.

When we stay silent
Nothing runs (idle is not stuck); one scrape only and nothing in the log; scrapes closer together than a
long step; the server has not completed its start; the log shows progress after the warning.

What we propose
Nothing that configuration repairs: the pod has to go, and the cause of the hang to be found; advice says
how.

Sources
vllm-project/vllm#36960, vllm-project/vllm#17972, PrimeIntellect-ai/prime-rl#2375, gonka-ai/gonka#1421.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from tillerman.cluster.logs import Log, clock
from tillerman.cluster.metrics import Series
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.quantity import counted, duration
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, Severity, seen_log, seen_metric

#: A step takes seconds at most, a prefill in chunks included; two scrapes this far apart see several.
WINDOW_S = 20
#: The warning repeats every minute while a worker is stuck: older than this, it has passed.
RECENT_S = 300
#: The warning comes after this long without progress. Source: vLLM 0.32 `shm_broadcast`
#: (VLLM_RINGBUFFER_WARNING_INTERVAL).
WARNED_S = 60
_STUCK = r"No available shared memory broadcast block found in \d+ seconds|RPC call to \w+ timed out"
_STATS = r"generation throughput: ([\d.]+) tokens/s, Running: (\d+) reqs"
_UP = r"Application startup complete|Starting vLLM server|generation throughput"


class Still(NamedTuple):
    """A server that stands still: its running requests, seconds without a step, and what shows it."""

    running: float
    seconds: float
    evidence: tuple[Evidence, ...]
    measured: bool


@dataclass(frozen=True, kw_only=True)
class Health200ButEngineHung(Fault):
    """A server that is Ready and whose engine no longer steps."""

    layer = Layer.ENGINE

    pods: tuple[Pod, ...]
    running: float
    still_s: float
    peers: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners with servers that stand still, by series, else by the end of their log."""
        groups: dict[Ref, list[tuple[Pod, Still]]] = {}
        for server in cluster.servers:
            pod, status = server.pod, server.pod.status_of(server.container.name)
            if status is None or status.started is False or status.state.running is None:
                continue
            found = _by_series(cluster, server) or _by_log(cluster, server)
            if found and not pod.metadata.deletion_timestamp:
                groups.setdefault(cluster.owner_of(pod), []).append((pod, found))
        for owner, stuck in groups.items():
            pods = tuple(pod for pod, _ in stuck)
            peers = [pod for pod in cluster.pods_of(owner) if pod.ready and pod not in pods]
            severity: Severity = "warning" if peers else "critical"
            yield cls(
                subject=owner,
                severity=severity,
                evidence=tuple(evidence for _, still in stuck for evidence in still.evidence),
                hurts=(owner, *(pod.ref for pod in pods)),
                certainty="proven" if any(still.measured for _, still in stuck) else "likely",
                pods=pods,
                running=max(still.running for _, still in stuck),
                still_s=max(still.seconds for _, still in stuck),
                peers=len(peers),
            )

    def summary(self) -> str:
        """Which pods stand still with how many requests, for how long at least."""
        names = ", ".join(pod.name for pod in self.pods[:3])
        return (
            f"the engine of {names} hangs: no step in {duration(self.still_s)} with "
            f"{counted(int(self.running), 'request')} running, while /health says 200 and the pod is Ready"
        )

    def explain(self) -> list[str]:
        """From the worker to the clients."""
        return [
            "the engine waits for a worker that no longer answers: its steps and tokens stand still",
            "the health endpoint only tells whether the process lives, so no probe fails",
            f"the pod stays Ready and gets requests that never end; {counted(self.peers, 'peer')} still work",
        ]

    def advice(self) -> list[str]:
        """The pod now, the cause next, the alarm for ever."""
        pod = self.pods[0]
        space = f"-n {pod.namespace}"
        return [
            f"`kubectl {space} exec {pod.name} -- py-spy dump --pid 1` shows where it waits: keep that first",
            *(f"`kubectl -n {one.namespace} delete pod {one.name}` replaces it" for one in self.pods),
            "a liveness probe that compares vllm:iteration_tokens_total_count over two minutes would see it",
            "look for NCCL and Xid messages on its node, and for a /dev/shm that is too small",
        ]


def _by_series(cluster: Snapshot, server: Server) -> Still | None:
    """A rank whose requests run and whose counters do not move over the window of the scrapes."""
    series, ref = _tail(cluster.series(server.pod)), str(server.pod.ref)
    if series.window_s < WINDOW_S:
        return None
    ranks = {sample.labels.get("engine") for sample in series.samples("running")}
    for rank in sorted(ranks, key=str):
        labels = {"engine": rank} if rank is not None else {}
        running = series.values("running", **labels)
        counter = _standing(series, labels)
        if len(running) > 1 and min(running) > 0 and counter:
            evidence = (
                seen_metric(ref, series.name_of("running") or "running", running[-1]),
                seen_metric(ref, counter, f"{series.values(counter, **labels)[-1]:.0f}, unchanged"),
            )
            return Still(running[-1], series.window_s, evidence, measured=True)
    return None


def _tail(series: Series) -> Series:
    """The last scrapes, as many as span a window: what moved before them does not count."""
    newest = series.scrapes[-1].at_s if series else 0.0
    first = max((at for at, one in enumerate(series.scrapes) if one.at_s <= newest - WINDOW_S), default=0)
    return Series(scrapes=series.scrapes[first:])


def _standing(series: Series, labels: dict[str, str]) -> str | None:
    """The counter of progress that did not move, when none did; None when one moved or none was seen."""
    counters = [q for q in ("steps", "generated", "prompted") if series.increase(q, **labels) is not None]
    if not counters or any(series.increase(question, **labels) for question in counters):
        return None
    return series.name_of(counters[0])


def _by_log(cluster: Snapshot, server: Server) -> Still | None:
    """The same from the log alone: the warning is the last thing it says, with requests running before."""
    log = cluster.log(server.pod, server.container.name)
    stuck, stats = (log.last(_STUCK), log.last(_STATS)) if log else (None, None)
    if log is None or stuck is None or stats is None or not log.first(_UP):
        return None
    at, before = clock(stuck[0], cluster.now), clock(stats[0], cluster.now)
    moved = stats[0].number > stuck[0].number and float(stats[1][1]) > 0
    running = int(stats[1][2])
    if at is None or before is None or moved or not running or (cluster.age_s(at) or 0.0) > RECENT_S:
        return None
    still_s = (at - before).total_seconds()
    if still_s < WARNED_S or _answers(cluster, server, log, stuck[0].number):
        return None
    evidence = (
        seen_log(server.pod.ref, server.container.name, stats[0].number, stats[0].text),
        seen_log(server.pod.ref, server.container.name, stuck[0].number, stuck[0].text),
    )
    return Still(float(running), still_s, evidence, measured=False)


def _answers(cluster: Snapshot, server: Server, log: Log, after: int) -> bool:
    """Whether the server made progress after a line of its log: it answered, or its series move."""
    answered = log.last(r'"POST /\S+ HTTP/1\.1" 200')
    series = cluster.series(server.pod)
    moved = any(series.increase(question) for question in ("steps", "generated", "prompted"))
    return moved or (answered is not None and answered[0].number > after)
