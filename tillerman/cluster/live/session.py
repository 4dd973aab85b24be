"""One reading of one cluster, from the first request to the snapshot: everything async, written once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tillerman.cluster.index import Source
from tillerman.cluster.live.api import Api, Refused, Timing
from tillerman.cluster.live.background import Background
from tillerman.cluster.live.connection import connect
from tillerman.cluster.live.kinds import discover
from tillerman.cluster.live.listing import Listed, Lister, not_seen, unreachable
from tillerman.cluster.live.podlogs import PodLogs, Which, troubled_logs
from tillerman.cluster.live.prometheus import address, read_prometheus
from tillerman.cluster.live.scrapes import Scraped, scrape_twice, targets
from tillerman.cluster.snapshot import Snapshot
from tillerman.cluster.write import Folder, Written
from tillerman.errors import UsageError

Progress = Callable[[str], None]


def silent(_: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which cluster, and how much of it: no `namespaces` are all; `prometheus` is an address."""

    context: str | None = None
    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    prometheus: str | None = None
    scrape_gap_s: float = 5.0
    timeout_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one reading brought: the snapshot, and behind it the raw lists, the logs, the scrapes as text."""

    snapshot: Snapshot
    lists: tuple[Listed, ...]
    logs: PodLogs
    scraped: Scraped

    def write_to(self, folder: Folder) -> Written:
        """Writes all of it into a snapshot directory.

        Raises: UsageError when it cannot be written.
        """
        folder.begin()
        for listed in self.lists:
            for page in listed.pages:
                folder.add_page(listed.resource.title, page)
        for which, log in self.logs.known.items():
            if log:
                folder.add_log(which, log.text)
        for whose, at_s, text in self.scraped.texts():
            folder.add_scrape(whose, at_s, text)
        return folder.finish(self.snapshot.source)


@dataclass(kw_only=True)
class Session:
    """How to read: the loop that stays for logs, who watches, the clock; `keep` is for a writer."""

    background: Background
    progress: Progress = silent
    timing: Timing = field(default_factory=Timing)
    keep: bool = False

    async def read(
        self, options: Options, logs_wanted: Callable[[Snapshot], list[Which]] = troubled_logs
    ) -> Reading:
        """The cluster at this moment, with the logs that `logs_wanted` names read already.

        Raises: UsageError, Unreachable, Forbidden or a plain ClusterError; a refusal in part is *not seen*.
        """
        where = address(options.prometheus) if options.prometheus else None
        api = await self._open(options)
        lists, problems = await self._lists(api, options)
        bare = _snapshot(api, lists)
        wanted = targets(bare)
        now_s = bare.now.timestamp()
        logs = PodLogs(api, self.background)
        which = logs_wanted(bare)
        self.progress(f"reading {_count(len(which), 'log')} and the metrics of {_count(len(wanted), 'pod')}")
        (scraped, missing), _ = await asyncio.gather(
            read_prometheus(where, bare, wanted, now_s)
            if where
            else scrape_twice(api, wanted, options.scrape_gap_s),
            logs.warm(which),
        )
        lines = ("secrets", *_elsewhere(options), *problems, *not_seen(lists), *missing, *logs.problems)
        source = replace(bare.source, not_seen=tuple(dict.fromkeys(lines)))
        snapshot = replace(bare, source=source, logs=logs, metrics=scraped)
        return Reading(snapshot=snapshot, lists=tuple(lists), logs=logs, scraped=scraped)

    async def _open(self, options: Options) -> Api:
        connection = await connect(options.context, options.kubeconfig)
        await self.background.stack.enter_async_context(connection.client)
        self.progress(f"reading `{connection.name}` at {connection.server}")
        return Api(connection=connection, timing=replace(self.timing, timeout_s=options.timeout_s))

    async def _lists(self, api: Api, options: Options) -> tuple[list[Listed], list[str]]:
        try:
            resources, problems = await discover(api)
        except Refused as refused:
            raise unreachable(api, refused) from refused
        await asyncio.gather(*(_raise_if_missing(api, name) for name in options.namespaces))
        self.progress(f"reading {_count(len(resources), 'kind')}")
        lister = Lister(api=api, progress=self.progress, keep=self.keep)
        return await lister.everything(resources, options.namespaces), problems


async def _raise_if_missing(api: Api, namespace: str) -> None:
    """A list in a namespace that does not exist is empty, not refused: so ask for the namespace."""
    try:
        await api.get(f"/api/v1/namespaces/{namespace}")
    except Refused as refused:
        if refused.missing:
            where = f"on `{api.connection.server}` (`{api.connection.name}`)"
            raise UsageError(
                f"there is no namespace `{namespace}` {where}", "`kubectl get namespaces` lists them"
            ) from None


def _snapshot(api: Api, lists: Sequence[Listed]) -> Snapshot:
    """The objects of all lists, in the order of the lists whatever came first."""
    parsed = [one.parsed for one in lists]
    taken_at = datetime.fromtimestamp(int(api.now_s()), UTC)
    return Snapshot(
        source=Source(kind="live", name=api.connection.name, taken_at=taken_at),
        pods=tuple(pod for one in parsed for pod in one.pods),
        nodes=tuple(node for one in parsed for node in one.nodes),
        events=tuple(event for one in parsed for event in one.events),
        objects=tuple(item for one in parsed for item in one.objects),
        kinds=frozenset(kind for one in parsed for kind in one.kinds),
    )


def _elsewhere(options: Options) -> tuple[str, ...]:
    return (f"namespaces other than {', '.join(options.namespaces)}",) if options.namespaces else ()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
