"""One event loop in a thread of its own, so that code that is not async can read a live cluster too."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from tillerman.errors import Unreachable

T = TypeVar("T")

#: How long closing waits for the thread; requests in flight are cancelled, so it is a matter of milliseconds.
CLOSE_S = 5.0


class Background:
    """An event loop that runs until it is closed; `stack` holds what is closed with it, inside the loop."""

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self.closed = False
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live()), name="tillerman-live", daemon=True
        )
        self._thread.start()

    async def _live(self) -> None:
        self._loop.set_result(asyncio.get_running_loop())
        async with self.stack:
            await self._stopping.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises, waited for from outside the loop.

        Raises: Unreachable when the loop is closed meanwhile.
        """
        waiting = asyncio.run_coroutine_threadsafe(work, self._loop.result())
        try:
            return waiting.result()
        except CancelledError as error:
            raise Unreachable("the reading was closed", "read the cluster again") from error
        finally:
            waiting.cancel()

    def close(self) -> None:
        """Closes the connections and ends the thread; closing twice is nothing."""
        if self.closed:
            return
        self.closed = True
        self._loop.result().call_soon_threadsafe(self._stopping.set)
        if (
            threading.current_thread() is not self._thread
        ):  # the last reference may be dropped inside the loop
            self._thread.join(CLOSE_S)
