"""What the containers of a model server would have logged: their words, composed from the pod when asked.

Times are in lab seconds: a line says when it would have been written had the model really taken as long as
it needs, counted back from the moment at which the container ended or became ready. So the phases that a log
tells fit the probes and needs in the spec, at any speed, and no line lies in the future.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from . import vllm_words
from .needs import budget_s, command_line, flag_of, gpus_of, main_of, moment, need, served_name, storage_uri

Object = dict[str, Any]
DIES_AT = 0.5
"""The part of its start after which a server that cannot start ends; KWOK's stages use the same."""


@dataclass(frozen=True)
class Line:
    """A log line and when it was written."""

    at: datetime
    text: str


def lines_of(pod: Object, container: str, previous: bool, now: datetime, speed: float) -> list[Line] | None:
    """The lines of a container's present or previous life; `None` when it has had no such life."""
    status = status_of(pod, container)
    if status is None:
        return None
    life = _life(status, previous)
    if life is None:
        return None
    spec = _spec_of(pod, container)
    if container == "storage-initializer":
        return list(_staging(pod, life, now, speed))
    if spec is not main_of(pod) or not gpus_of(spec):
        return [Line(life.start, f"{container} started")]
    return list(_serving(pod, life, now, speed))


def status_of(pod: Object, container: str) -> Object | None:
    """The status of a container, of any sort; `None` when the pod has none of that name."""
    for sort in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for status in pod.get("status", {}).get(sort, []):
            if status["name"] == container:
                return dict(status)
    return None


@dataclass(frozen=True, kw_only=True)
class _Life:
    start: datetime
    end: datetime | None
    exit_code: int | None
    ready: bool


def _life(status: Object, previous: bool) -> _Life | None:
    """The life that is asked for. A crashed container that waits for its next has the log of its last."""
    state, last = status.get("state", {}), status.get("lastState", {})
    if previous:
        chosen = last.get("terminated")
    else:
        chosen = state.get("running") or state.get("terminated") or last.get("terminated")
    if not chosen:
        return None
    start = moment(chosen.get("startedAt"))
    if start is None:
        return None
    return _Life(
        start=start,
        end=moment(chosen.get("finishedAt")),
        exit_code=chosen.get("exitCode"),
        ready=bool(status.get("ready")) and "running" in state and not previous,
    )


def _spec_of(pod: Object, container: str) -> Object:
    spec = pod["spec"]
    for each in (*spec["containers"], *spec.get("initContainers", [])):
        if each["name"] == container:
            return dict(each) if each is not spec["containers"][0] else main_of(pod)
    return {}


def _staging(pod: Object, life: _Life, now: datetime, speed: float) -> Iterator[Line]:
    """KServe's storage-initializer."""
    uri, needed = storage_uri(pod), need(pod, "init-seconds", 1)
    lived = min((now - life.start).total_seconds() * speed, needed) if life.end is None else needed
    lived = lived * DIES_AT if life.exit_code else lived
    begun = (life.end or now) - timedelta(seconds=lived)
    yield Line(begun, f"INFO:root:Initializing, args: src_uri [{uri}] dest_path[ [/mnt/models]")
    yield Line(begun, f"INFO:root:Copying contents of {uri} to local")
    if life.exit_code == 0:
        end = life.end or now
        yield Line(end, f"INFO:root:Successfully copied {uri} to /mnt/models")
        yield Line(end, f"INFO:root:Model downloaded in {needed:.4f} seconds.")


def _serving(pod: Object, life: _Life, now: datetime, speed: float) -> Iterator[Line]:
    """A vLLM server: all it says until it ends, or until now."""
    needed = need(pod, "load-seconds", 1)
    begun, lived = _lab_clock(pod, life, now, speed, needed)
    main = main_of(pod)
    boot = vllm_words.Boot(
        model=served_name(main) or "model",
        load_s=needed,
        weights_gib=need(pod, "weights-gib", 15),
        gpus=max(gpus_of(main), 1),
        tensor_parallel=int(flag_of(main, "tensor-parallel-size") or 1),
        max_len=int(flag_of(main, "max-model-len") or need(pod, "model-len", 32_768)),
        kv_tokens=int(need(pod, "kv-tokens", 262_144)),
        args=command_line(main),
    )
    for offset, text in vllm_words.starting(boot):
        if offset <= lived and not (life.exit_code == 1 and offset >= lived):
            yield _said(begun, offset, text)
    if life.exit_code == 1:
        for text in vllm_words.failing(boot):
            yield _said(begun, lived, text)
    if life.ready:
        yield from _running(pod, life, now)


def _lab_clock(
    pod: Object, life: _Life, now: datetime, speed: float, needed: float
) -> tuple[datetime, float]:
    """When this life began and how long it has lasted, in lab seconds."""
    if life.ready or life.exit_code == 0:
        return (life.start, needed)
    if life.end is None:
        lived = min((now - life.start).total_seconds() * speed, needed)
        return life.start - timedelta(seconds=needed * (1 - 1 / speed)), lived
    lived = (life.end - life.start).total_seconds()
    if life.exit_code in (1, 137) and lived <= 1:
        lived = min(needed * DIES_AT, budget_s(main_of(pod)))
    return life.end - timedelta(seconds=lived), lived


def _running(pod: Object, life: _Life, now: datetime) -> Iterator[Line]:
    """The engine's own line of statistics, every ten seconds, and the last twenty of them."""
    ready = life.start + timedelta(seconds=need(pod, "load-seconds", 1))
    waiting, running, kv = need(pod, "waiting", 0), need(pod, "running", 3), need(pod, "kv", 0.18)
    told = int((now - ready).total_seconds() // 10)
    for tick in range(max(told - 20, 0) + 1, told + 1):
        at = ready + timedelta(seconds=10 * tick)
        rate = need(pod, "rate", 1)
        text = vllm_words.statistics(rate=rate, running=int(running), waiting=int(waiting), kv=kv)
        yield Line(at, f"(APIServer pid=1) INFO {at:%m-%d %H:%M:%S} [loggers.py:277] {text}")


def _said(begun: datetime, offset: float, text: str) -> Line:
    at = (begun + timedelta(seconds=offset)).astimezone(UTC)
    return Line(at, text.replace("%TIME%", f"{at:%m-%d %H:%M:%S}"))
