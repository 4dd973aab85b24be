"""GETs to one API server: authenticated by the official client, raw bytes back, retried within bounds."""

import asyncio
import os
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp
import msgspec
from kubernetes.aio.config import ConfigException

from tillerman.cluster.live.connection import Connection
from tillerman.cluster.masking import masked_text

Query = Sequence[tuple[str, str | int]]

#: Requests in flight at once: what API Priority and Fairness lets one reader have without queueing it.
CONCURRENCY = 8
#: After this many requests in a row without any answer the server is gone, and nothing waits for it again:
#: twice what is in flight, so that a short break is survived.
SILENT_IN_A_ROW = 2 * CONCURRENCY
FIRST_WAIT_S = 0.5
CONNECT_TIMEOUT_S = 10.0
#: The longest wait before a retry, whatever `Retry-After` asks for.
LONGEST_WAIT_S = 15.0
#: An answer above this is cut off: 50,000 pods in one piece are about 500 MiB.
LARGEST_ANSWER_BYTES = 1024**3

_AGAIN = (429, 500, 502, 503, 504)


class Refused(Exception):
    """A request without a good answer: its HTTP status (0 for none) and the reason in a few words."""

    def __init__(self, status: int, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s

    @property
    def silent(self) -> bool:
        """Nothing answered."""
        return self.status == 0

    @property
    def unknown(self) -> bool:
        """The credentials are not accepted."""
        return self.status == HTTPStatus.UNAUTHORIZED

    @property
    def forbidden(self) -> bool:
        """The credentials are accepted, and do not allow this."""
        return self.status == HTTPStatus.FORBIDDEN

    @property
    def missing(self) -> bool:
        """There is no such thing, or no more."""
        return self.status == HTTPStatus.NOT_FOUND

    @property
    def expired(self) -> bool:
        """The list changed too much between two of its pages."""
        return self.status == HTTPStatus.GONE


class _Status(msgspec.Struct):
    """What the API server says when it does not do what was asked."""

    kind: str = ""
    message: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard to try: the tries of a request answered with 429 or 5xx, and of one not answered at all.

    Behind the API server stand kubelets and pods: their silence says nothing about it, and is not waited for.
    """

    attempts: int
    silent_attempts: int
    longest_s: float = 3600.0
    behind: bool = False
    renews: bool = True


SERVER = Effort(attempts=5, silent_attempts=2)
FIRST = Effort(attempts=5, silent_attempts=2, longest_s=15.0)
KUBELET = Effort(attempts=2, silent_attempts=1, longest_s=20.0, behind=True)
POD = Effort(attempts=1, silent_attempts=1, longest_s=10.0, behind=True, renews=False)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The body of an answer, and whether it is all of it."""

    body: bytes
    complete: bool = True


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long to wait, and the clock: replaced in tests, which do not."""

    timeout_s: float = 30.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random
    now_s: Callable[[], float] = time.time

    def backoff_s(self, attempt: int, asked_s: float | None) -> float:
        """Seconds to wait after an attempt (from 1): what the server asked for, else doubling with jitter."""
        wait_s = asked_s if asked_s is not None else FIRST_WAIT_S * 2 ** (attempt - 1) * (0.5 + self.jitter())
        return min(wait_s, LONGEST_WAIT_S)


@dataclass(kw_only=True)
class Api:
    """One API server, read only."""

    connection: Connection
    timing: Timing = field(default_factory=Timing)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENCY))
    _renewal: asyncio.Lock = field(default_factory=asyncio.Lock)
    _renewed: int = 0
    _silent: int = 0
    _skew_s: float | None = None

    def now_s(self) -> float:
        """The server's time in unix seconds, which all ages count from: this machine's clock may be wrong."""
        return self.timing.now_s() + (self._skew_s or 0.0)

    async def get(
        self, path: str, query: Query = (), *, effort: Effort = SERVER, limit: int = LARGEST_ANSWER_BYTES
    ) -> Answer:
        """The answer to a GET, asked again within bounds when the server is busy or silent.

        Raises: Refused.
        """
        attempt, renewed = 0, not effort.renews
        while True:
            attempt, before = attempt + 1, self._renewed
            try:
                return await self._once(path, query, limit, effort)
            except Refused as refused:
                self._silent += refused.silent and not effort.behind
                if refused.unknown and not renewed:
                    renewed = True
                    await self._renew(before)
                elif self._again(refused, effort, attempt):
                    await self.timing.sleep(self.timing.backoff_s(attempt, refused.retry_after_s))
                else:
                    raise

    def _again(self, refused: Refused, effort: Effort, attempt: int) -> bool:
        if refused.silent:
            return attempt < effort.silent_attempts and self._silent < SILENT_IN_A_ROW
        return refused.status in _AGAIN and attempt < effort.attempts

    async def _renew(self, before: int) -> None:
        """Gets fresh credentials, once for all requests that found the old ones expired."""
        async with self._renewal:
            if self._renewed == before:
                await self.connection.renew()
                self._renewed += 1

    async def _once(self, path: str, query: Query, limit: int, effort: Effort) -> Answer:
        timeout_s = min(effort.longest_s, self.timing.timeout_s)
        async with self._places, _reasons(timeout_s):
            if self._silent >= SILENT_IN_A_ROW:
                raise Refused(0, "the API server stopped answering")
            return await self._exchange(path, query, limit, timeout_s)

    async def _exchange(self, path: str, query: Query, limit: int, timeout_s: float) -> Answer:
        client = self.connection.client
        method, url, headers, _, _ = await client.param_serialize(
            "GET",
            path,
            query_params=list(query),
            header_params={"Accept": "application/json, */*"},
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        raw = await client.call_api(method, url, headers, _request_timeout=timeout)
        async with raw.response as response:
            self._note_time(response.headers.get("Date", ""))
            if response.history:
                raise Refused(response.status, "redirected, which is not followed")
            answer = await _body(response, limit)
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise Refused(response.status, _reason(answer.body, response), _retry_after_s(response))
            self._silent = 0
            return answer

    def _note_time(self, date: str) -> None:
        if self._skew_s is None and date:
            try:
                self._skew_s = parsedate_to_datetime(date).timestamp() - self.timing.now_s()
            except ValueError:
                self._skew_s = None


async def _body(response: aiohttp.ClientResponse, limit: int) -> Answer:
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > limit:
            return Answer(body=bytes(found[:limit]), complete=False)
    return Answer(body=bytes(found))


@asynccontextmanager
async def _reasons(timeout_s: float) -> AsyncIterator[None]:
    """Says why nothing answered, in words."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise Refused(0, f"no connection within {CONNECT_TIMEOUT_S:g} s") from error
    except TimeoutError as error:
        raise Refused(0, f"no answer within {timeout_s:g} s") from error
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLError) as error:
        raise Refused(0, f"its certificate is not accepted: {_certificate(error)}") from error
    except aiohttp.ClientConnectorDNSError as error:
        raise Refused(0, "no such host") from error
    except aiohttp.ClientConnectorError as error:
        raise Refused(
            0, (os.strerror(error.os_error.errno) if error.os_error.errno else str(error)).lower()
        ) from error
    except (aiohttp.ClientError, OSError, ValueError, ConfigException) as error:
        raise Refused(
            0, masked_text(str(error).splitlines()[0] if str(error) else "the connection broke")
        ) from error


def _certificate(error: aiohttp.ClientConnectorCertificateError | ssl.SSLError) -> str:
    inner = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
    return getattr(inner, "verify_message", "") or getattr(inner, "reason", "") or str(inner)


def _reason(body: bytes, response: aiohttp.ClientResponse) -> str:
    """The API server's own words, as short as they still say what is wrong."""
    try:
        status = msgspec.json.decode(body, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = _Status()
    if status.kind != "Status":
        return f"HTTP {response.status} {response.reason or ''}".strip()
    if response.status == HTTPStatus.FORBIDDEN and status.reason == "Forbidden":
        return "forbidden"
    message = " ".join(status.message.split())
    if "error trying to reach service" in message:
        message = message.rsplit(": ", 1)[-1]
    return masked_text(message)[:300] or f"HTTP {response.status}"


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else None
