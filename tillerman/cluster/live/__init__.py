"""The adapter that reads a live cluster through its API server: no write, no watch, no secret.

Inside, everything is async and runs in one loop in a thread of its own; outside, `read` gives a `Snapshot` to
plain code. The loop stays as long as the snapshot, so that logs can be read when a fault asks for them.
"""

import weakref
from contextlib import ExitStack
from pathlib import Path

from tillerman.cluster.live.background import Background
from tillerman.cluster.live.podlogs import lasting_logs
from tillerman.cluster.live.session import Options, Progress, Session, silent
from tillerman.cluster.snapshot import Snapshot
from tillerman.cluster.write import Folder, Written

__all__ = ["Options", "Written", "read", "write"]


def read(options: Options, progress: Progress | None = None) -> Snapshot:
    """The cluster at this moment; logs are read on when asked for, until the snapshot is dropped.

    `progress` is called with a line now and then, from another thread.

    Raises: UsageError when the kubeconfig, context or namespace is not there; Unreachable, Forbidden or
    ClusterError when nothing could be read. What is refused in part is in `source.not_seen`.
    """
    with ExitStack() as closing:
        background = Background()
        closing.callback(background.close)
        session = Session(background=background, progress=progress or silent)
        reading = background.run(session.read(options))
        closing.pop_all()
        weakref.finalize(reading.logs, background.close)
        return reading.snapshot


def write(
    options: Options, directory: str | Path, progress: Progress | None = None, *, force: bool = False
) -> Written:
    """Writes the cluster at this moment as a snapshot directory, secrets left out and tokens masked.

    Raises: as `read`; UsageError when the directory cannot be written or is not empty (with `force`: when it
    holds anything but an older snapshot).
    """
    folder = Folder(Path(directory), force=force)
    with ExitStack() as closing:
        background = Background()
        closing.callback(background.close)
        session = Session(background=background, progress=progress or silent, keep=True)
        reading = background.run(session.read(options, lasting_logs))
    return reading.write_to(folder)
