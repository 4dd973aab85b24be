"""Logs are read when asked for, bounded at both ends, and a log that is not there is nothing to report."""

from pathlib import Path

import pytest

from tests.live.conftest import SMALL, Reader
from tests.live.served import Answer, Served, Trouble, serving
from tillerman.cluster.live.podlogs import Which, troubled_logs
from tillerman.cluster.logs import HEAD_BYTES, TAIL_BYTES, Log

SERVER = Which("chat", "llama-0", "vllm")
BEFORE = Which("chat", "llama-1", "vllm", previous=True)


def printed(served: Served, reader: Reader, lines: list[str]) -> tuple[Log | None, list[str]]:
    """The log read of a server that printed these lines, and the questions that it took."""
    place = served.root / "logs" / "chat" / "llama-0" / "vllm.log"
    place.parent.mkdir(parents=True)
    place.write_text("".join(f"{line}\n" for line in lines))
    found = reader.read(served).logs.read(*SERVER[:3])
    asked = [one.partition("container=vllm&")[2] for one in served.asked if "llama-0/log" in one]
    return found, asked


@pytest.fixture
def copied(tmp_path: Path) -> Served:
    """The small cluster without its logs, for a test to write one."""
    root = tmp_path / "small"
    root.mkdir()
    (root / "cluster").symlink_to(SMALL / "cluster")
    (root / "snapshot.yaml").symlink_to(SMALL / "snapshot.yaml")
    return Served(root=root)


TAIL = f"tailLines=4000&limitBytes={TAIL_BYTES}"
HEAD = f"limitBytes={HEAD_BYTES}"


def test_short_log_is_read_whole_by_one_question(copied: Served, reader: Reader) -> None:
    with serving(copied):
        found, asked = printed(copied, reader, ["one", "two"])
    assert found == Log(text="one\ntwo\n")
    assert asked == [TAIL]


def test_log_of_many_short_lines_is_read_whole(copied: Served, reader: Reader) -> None:
    lines = [f"line {n}" for n in range(9000)]
    with serving(copied):
        found, asked = printed(copied, reader, lines)
    assert found == Log(text="".join(f"{line}\n" for line in lines))
    assert asked == [TAIL, HEAD]


def test_head_and_tail_that_overlap_are_joined_at_the_seam(copied: Served, reader: Reader) -> None:
    lines = [f"line {n} {'x' * 200}" for n in range(6000)]
    with serving(copied):
        found, _ = printed(copied, reader, lines)
    assert found == Log(text="".join(f"{line}\n" for line in lines))


def test_long_log_keeps_its_beginning_and_its_end(copied: Served, reader: Reader) -> None:
    lines = [f"line {n} {'x' * 500}" for n in range(20000)]
    with serving(copied):
        found, asked = printed(copied, reader, lines)
    assert found is not None
    assert found.truncated
    assert (found.lines[0].text, found.lines[-1].text) == (lines[0], lines[-1])
    assert len(found.text) < HEAD_BYTES + TAIL_BYTES
    assert asked == [TAIL, HEAD]


def test_tail_of_long_lines_keeps_the_newest(copied: Served, reader: Reader) -> None:
    """`limitBytes` cuts off the end of a tail, which is what matters: so fewer lines are asked for."""
    lines = [f"line {n} {'x' * 4000}" for n in range(5000)]
    with serving(copied):
        found, asked = printed(copied, reader, lines)
    assert found is not None
    assert found.lines[-1].text == lines[-1]
    assert asked == [TAIL, f"tailLines=500&limitBytes={TAIL_BYTES}", HEAD]


def test_tokens_in_logs_are_masked(small: Served, reader: Reader) -> None:
    found = reader.read(small).logs.read("chat", "llama-1", "vllm", previous=True)
    assert found is not None
    assert (
        found.lines[0].text
        == "INFO 11-24 09:57:00 [api_server.py:1] vLLM API server version 0.32.0, token ***"
    )


def test_only_logs_of_containers_in_trouble_are_read_at_once(small: Served, reader: Reader) -> None:
    reading = reader.reading(small)
    assert set(reading.logs.known) == {Which("chat", "llama-1", "vllm"), BEFORE}
    assert troubled_logs(reading.snapshot, 0) == []


def test_missing_log_is_none_and_no_trouble(small: Served, reader: Reader) -> None:
    reading = reader.reading(small)
    assert reading.snapshot.logs.read("chat", "llama-0", "vllm", previous=True) is None
    assert reading.snapshot.logs.read("chat", "gone", "vllm") is None
    assert reading.logs.problems == []


def test_forbidden_logs_are_not_seen_once(small: Served, reader: Reader) -> None:
    small.troubles.append(Trouble(matching="/log", answer=Answer(status=403)))
    assert reader.read(small).source.not_seen == ("secrets", "logs: forbidden")


def test_log_of_a_dead_kubelet_is_not_seen(small: Served, reader: Reader) -> None:
    answer = Answer(status=502, message="error dialing backend: dial tcp 10.0.0.7:10250: i/o timeout")
    small.troubles.append(Trouble(matching="previous=true", answer=answer))
    line = "log of chat/llama-1/vllm (previous): error dialing backend: dial tcp 10.0.0.7:10250: i/o timeout"
    assert reader.read(small).source.not_seen == ("secrets", line)
    assert sum("previous=true" in one for one in small.asked) == 2


def test_closed_reading_gives_what_it_knows(small: Served, reader: Reader) -> None:
    reading = reader.reading(small)
    reader.opened[0].close()
    assert reading.snapshot.logs.read("chat", "llama-0", "vllm") is None
    assert reading.snapshot.logs.read("chat", "llama-1", "vllm") is not None
