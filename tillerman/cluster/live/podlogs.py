"""Logs of containers, read when asked for and no more than is looked at: the beginning and the end."""

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from itertools import chain
from typing import NamedTuple

from tillerman.cluster.life import Trouble
from tillerman.cluster.live.api import KUBELET, Api, Query, Refused
from tillerman.cluster.live.background import Background
from tillerman.cluster.logs import HEAD_BYTES, TAIL_BYTES, Log
from tillerman.cluster.masking import masked_text
from tillerman.cluster.model import ContainerStatus, Pod
from tillerman.cluster.snapshot import Snapshot
from tillerman.errors import ClusterError

TAIL_LINES = 4000
#: Containers whose logs are read at once; all others wait until somebody asks.
MOST_WARM = 64
#: Containers in trouble, and model servers, whose logs are written down for a reader who cannot ask.
MOST_WRITTEN = 256
#: Bytes of a tail that show where it begins: more than one line, less than chance repeats.
_SEAM = 512
#: Said of a container that has not started, of a life that was never lived, of a pod that is gone.
_NO_LOG = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)


class Which(NamedTuple):
    """One log: the container's present life, or the one before."""

    namespace: str
    pod: str
    container: str
    previous: bool = False

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}/{self.container}{' (previous)' if self.previous else ''}"


class PodLogs:
    """The logs of a live cluster, read when asked for; `problems` gathers what could not be read."""

    def __init__(self, api: Api, background: Background) -> None:
        self.problems: list[str] = []
        self.known: dict[Which, Log | None] = {}
        self._api = api
        self._background = background

    def read(self, namespace: str, pod: str, container: str, *, previous: bool = False) -> Log | None:
        """What a container prints now, or printed in its previous life; None when it is not to be seen."""
        which = Which(namespace, pod, container, previous)
        if which not in self.known and not self._background.closed:
            self._background.run(self.fetch(which))
        return self.known.get(which)

    async def fetch(self, which: Which) -> None:
        """Reads one log into `known`."""
        if which in self.known:
            return
        try:
            self.known[which] = await read_log(self._api, which)
        except Refused as refused:
            self.known[which] = None
            if refused.forbidden:
                self.problems.append("logs: forbidden")
            elif refused.status not in _NO_LOG:
                self.problems.append(f"log of {which}: {refused.reason}")
        except ClusterError as error:  # credentials that cannot be renewed any more
            self.known[which] = None
            self.problems.append(f"log of {which}: {error.message}")
        else:
            found = self.known[which]
            if found and found.truncated:
                self.problems.append(f"log of {which}: long, only its beginning and its end were read")

    async def warm(self, wanted: list[Which]) -> None:
        """Reads several logs at once."""
        await asyncio.gather(*(self.fetch(which) for which in wanted))


async def read_log(api: Api, which: Which) -> Log:
    """The log of a container: its last lines, and when there are more, its beginning too.

    Raises: Refused.
    """
    lines, tail, whole = TAIL_LINES, b"", False
    while True:
        # `limitBytes` counts from the first line that is sent: a tail that is cut has lost its newest lines.
        tail = await _ask(api, which, (("tailLines", lines), ("limitBytes", TAIL_BYTES)))
        if len(tail) < TAIL_BYTES or lines == 1:
            whole = lines == TAIL_LINES and tail.count(b"\n") < lines
            break
        lines = max(1, lines // 8)
    if whole:
        return Log(text=masked_text(_text(tail)))
    head = await _ask(api, which, (("limitBytes", HEAD_BYTES),))
    if len(head) < HEAD_BYTES:
        return Log(text=masked_text(_text(head)))
    seam = head.find(tail[:_SEAM])
    if seam >= 0:
        return Log(text=masked_text(_text(head[:seam] + tail)))
    return Log(text=masked_text(f"{_text(head)}\n{_text(tail)}"), truncated=True)


async def _ask(api: Api, which: Which, query: Query) -> bytes:
    path = f"/api/v1/namespaces/{which.namespace}/pods/{which.pod}/log"
    life: Query = (("previous", "true"),) if which.previous else ()
    answer = await api.get(path, (("container", which.container), *life, *query), effort=KUBELET)
    return answer.body


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def troubled_logs(snapshot: Snapshot, most: int = MOST_WARM) -> list[Which]:
    """The logs a diagnosis will ask for: containers in trouble, failures first, owners in turn."""
    turns: dict[tuple[str, str, str], int] = {}
    ranked = []
    for pod, trouble in snapshot.troubled:
        owner = snapshot.owner_of(pod).key
        turns[owner] = turns.get(owner, 0) + 1
        ranked.append((not trouble.failing, turns[owner], pod, trouble))
    ranked.sort(key=lambda one: one[:2])
    wanted = (list(_logs_of(snapshot, pod, trouble)) for _, _, pod, trouble in ranked)
    return list(dict.fromkeys(chain.from_iterable([group for group in wanted if group][:most])))


def lasting_logs(snapshot: Snapshot) -> list[Which]:
    """The logs to write down: of containers in trouble, and of the model servers that run."""
    running = [s for s in snapshot.servers if s.pod.status.pod_ip][:MOST_WRITTEN]
    servers = [Which(s.pod.namespace, s.pod.name, s.container.name) for s in running]
    return list(dict.fromkeys([*troubled_logs(snapshot, MOST_WRITTEN), *servers]))


def _logs_of(snapshot: Snapshot, pod: Pod, trouble: Trouble) -> Iterator[Which]:
    server = snapshot.server_of(pod)
    names = (trouble.container, server.container.name if server else "")
    for name in dict.fromkeys(filter(None, names)):
        status = pod.status_of(name)
        if status and _has_begun(status):
            yield Which(pod.namespace, pod.name, name)
        if status and status.restart_count:
            yield Which(pod.namespace, pod.name, name, previous=True)


def _has_begun(status: ContainerStatus) -> bool:
    return bool(status.state.running or status.state.terminated or status.last_state.terminated)
