"""Prefill and decode servers that belong together, and what says that KV transfers between them fail."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from tillerman.cluster.logs import Line, Log, clock
from tillerman.cluster.model import Ref
from tillerman.cluster.models import model_of
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, seen_log, seen_metric
from tillerman.patterns.token_aware_routing.pools import is_picker, pool_of

#: Failed transfers between two scrapes that are a state: one or two come with any replica that goes away.
MIN_FAILED = 3
#: A line of a log this old is history: transfers happen with every request.
RECENT_S = 1800
#: Series that count transfers that failed, at the server that reads, and blocks nobody fetched, at the other.
_COUNTERS = ("failed_transfers", "expired_transfers", "vllm:nixl_num_failed_notifications_total")
_EXPIRED = "vllm:nixl_num_kv_expired_reqs_total"
#: Configurations that do not fit. Source: vLLM 0.32 NIXL connector.
MISMATCH = (
    r"NIXL compatibility hash mismatch|NIXL agent engine ID mismatch|Failed to decode NixlHandshakePayload"
)
#: Transfers that fail. Sources: vLLM 0.32 NIXL connector, NIXL and UCX errors.
_FAILURE = (
    rf"{MISMATCH}|NIXL transfer failure|NIXL_ERR_\w+|nixl\w*Error|no active messages transport"
    r"|UCX\s+ERROR|Releasing expired KV blocks"
)
_EPOCH = re.compile(r"\[(\d{10})\.\d+\]")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The servers that prefill, and those that decode, for one another."""

    prefill: tuple[Server, ...]
    decode: tuple[Server, ...]

    @property
    def servers(self) -> tuple[Server, ...]:
        """Both roles."""
        return (*self.prefill, *self.decode)


@dataclass(frozen=True, kw_only=True)
class Failing:
    """What says that transfers fail: how many in the window (None when only logs say so), and where.

    `mismatch` when the caches do not fit; not `hard` when blocks merely expired (decode may be slow).
    """

    count: float | None
    servers: tuple[Server, ...]
    evidence: tuple[Evidence, ...]
    mismatch: bool
    hard: bool


def role_of(server: Server) -> str:
    """`prefill`, `decode`, or "": by label, component, the connector's role, else the owner's name."""
    labels = server.pod.labels
    told = labels.get("llm-d.ai/role") or labels.get("app.kubernetes.io/component", "")
    transfer = server.flag("kv-transfer-config")
    connector = transfer.value if transfer else ""
    for text in (told, server.pod.name):
        for role in ("prefill", "decode"):
            if role in text and text != "prefill-decode":
                return role
    if "kv_producer" in connector:
        return "prefill"
    return "decode" if "kv_consumer" in connector or told == "llminferenceservice-workload" else ""


def pairs(cluster: Snapshot) -> Iterator[Pair]:
    """Prefill and decode servers that serve together: one service, one pool, or one model of a namespace."""
    groups: dict[tuple[str, str], dict[str, list[Server]]] = {}
    for server in cluster.servers:
        role = role_of(server)
        if role and not is_picker(server.pod):
            key = (server.pod.namespace, _together(cluster, server))
            groups.setdefault(key, {}).setdefault(role, []).append(server)
    alone: dict[str, list[dict[str, list[Server]]]] = {}
    for (namespace, _), roles in groups.items():
        if len(roles) > 1:
            yield Pair(prefill=tuple(roles["prefill"]), decode=tuple(roles["decode"]))
        else:
            alone.setdefault(namespace, []).append(roles)
    for halves in alone.values():
        found = {role: servers for roles in halves for role, servers in roles.items()}
        if len(halves) == len(found) == 2:  # noqa: PLR2004 - one of each role, and no other
            yield Pair(prefill=tuple(found["prefill"]), decode=tuple(found["decode"]))


def _together(cluster: Snapshot, server: Server) -> str:
    owner = cluster.owner_of(server.pod)
    if owner.kind in ("LLMInferenceService", "DisaggregatedSet"):
        return str(owner)
    pool = pool_of(cluster, server.pod)
    return str(pool.ref) if pool else model_of(cluster, server)


def failing(cluster: Snapshot, pair: Pair) -> Failing | None:
    """What says that transfers of a pair fail now: counters that grow; lines where nothing counts them.

    A line about configurations that do not fit counts in any case: the engine counts no transfer then.
    """
    grown: list[tuple[Server, str, float]] = []
    counted = False
    for server in pair.servers:
        series = cluster.series(server.pod)
        for name in _COUNTERS:
            increase = series.increase(name)
            counted = counted or (increase is not None and name == "failed_transfers")
            if increase is not None and increase >= MIN_FAILED:
                grown.append((server, series.name_of(name) or name, increase))
    lines = [(server, line) for server in pair.servers for line in _recent(cluster, server)[:1]]
    mismatch = any(re.search(MISMATCH, line.text) for _, line in lines)
    if not grown and not mismatch and (counted or not lines):
        return None
    hit = [server for server, *_ in grown] or [server for server, _ in lines]
    return Failing(
        count=sum(increase for *_, increase in grown) or None,
        servers=tuple({server.pod.ref: server for server in hit}.values()),
        evidence=(
            *(seen_metric(str(s.pod.ref), name, f"grew by {n:g}") for s, name, n in grown[:3]),
            *(seen_log(s.pod.ref, s.container.name, line.number, line.text) for s, line in lines[:3]),
        ),
        mismatch=mismatch,
        hard=any(name != _EXPIRED for _, name, _ in grown) or any("expired" not in x.text for _, x in lines),
    )


def _recent(cluster: Snapshot, server: Server) -> list[Line]:
    """Lines about failed transfers of the last half hour, those about a mismatch first."""
    log = cluster.log(server.pod, server.container.name)
    found = [line for line, _ in log.find(_FAILURE)] if log else []
    late = [line for line in found if log and _age_s(cluster, log, line) <= RECENT_S]
    return sorted(late, key=lambda line: not re.search(MISMATCH, line.text))


def _age_s(cluster: Snapshot, log: Log, line: Line) -> float:
    """How long ago a line was printed, by itself or the last line before it that tells; unknown is old."""
    for one in reversed([x for x in log.lines if x.number <= line.number][-200:]):
        epoch = _EPOCH.search(one.text)
        at = datetime.fromtimestamp(int(epoch[1]), UTC) if epoch else clock(one, cluster.now)
        if at:
            return (cluster.now - at).total_seconds()
    return float("inf")


def changed_at(cluster: Snapshot, servers: tuple[Server, ...]) -> datetime | None:
    """When a role was rolled out last: its newest ReplicaSet, else its newest pod."""
    moments = []
    for server in servers:
        made = cluster.replica_set_of(server.pod)
        meta = made.metadata if made else server.pod.metadata
        moments.append(meta.creation_timestamp)
    return max((moment for moment in moments if moment), default=None)


def younger(cluster: Snapshot, pair: Pair) -> tuple[Server, Server]:
    """A server of the role that was changed last, and one of the other; decode when they are of one age."""
    prefill, decode = changed_at(cluster, pair.prefill), changed_at(cluster, pair.decode)
    late = pair.prefill[0], pair.decode[0]
    return late if prefill and decode and prefill > decode else (late[1], late[0])


def hurt_by(cluster: Snapshot, pair: Pair) -> tuple[Ref, ...]:
    """What failing transfers account for: the owners of both roles, and their pods."""
    owners = dict.fromkeys(cluster.owner_of(server.pod) for server in pair.servers)
    return (*owners, *(server.pod.ref for server in pair.servers))
