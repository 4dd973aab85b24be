"""As much HTTP/1.1 server as the lab's pods and kubelet need: one request, one answer, close."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """A status, a body and its type."""

    status: int
    body: str = ""
    kind: str = TEXT


Handler = Callable[[str, str, dict[str, str]], Awaitable[Answer]]
"""Method, path and query parameters to an answer."""
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed"}


async def serve(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read one request, write its answer."""
    line = (await reader.readline()).decode("latin-1").split()
    if not line[1:]:
        return
    length = 0
    while header := (await reader.readline()).decode("latin-1").strip():
        name, _, value = header.partition(":")
        length = int(value) if name.lower() == "content-length" else length
    await reader.readexactly(length)
    url = urlsplit(line[1])
    answer = await handler(line[0], url.path, dict(parse_qsl(url.query)))
    body = answer.body.encode()
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Error')}\r\n"
        f"Content-Type: {answer.kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + (b"" if line[0] == "HEAD" else body))
    await writer.drain()
