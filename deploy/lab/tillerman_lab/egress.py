"""The only way out of the API server: an HTTP CONNECT proxy on a unix socket.

A cluster's pods have addresses, and the API server dials them when somebody asks it for a pod's port. Here
nothing listens on them, or worse, something unrelated on the real network does. So every address of the
cluster ends in this process: a pod's own HTTP answers, a node's kubelet, a controller's webhook. Anything
else is refused. `python -m tillerman_lab.egress CONFIG.json`.
"""

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from .addresses import KUBELET_PORT, LOOPBACK
from .kubelet import Kubelet
from .pods import PodServer
from .view import View
from .web import Handler, serve


class Egress:
    """Decides where each connection of the API server goes."""

    def __init__(
        self,
        config: dict[str, Any],
        pod: Callable[[str, int], Awaitable[Handler | None]],
        open_kubelet: Callable[[], Awaitable[None]],
    ) -> None:
        """`config` as the control plane writes it; `pod` finds who answers on a pod's address and port."""
        self._mapped: dict[str, int] = config["mapped"]
        self._open = set(config["open"])
        self._kubelet: int = config["kubelet"]
        self._pod = pod
        self._open_kubelet = open_kubelet

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one CONNECT, then carry bytes until either side is done."""
        try:
            target = (await reader.readline()).split()[1].decode()
            while (await reader.readline()).strip():
                pass
            await self._route(target, reader, writer)
        except (OSError, IndexError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _route(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        local = self.local_port(target)
        if local:
            if local == self._kubelet:
                await self._open_kubelet()
            await self._carry(local, reader, writer)
        elif handler := await self._pod(host.strip("[]"), int(port)):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await serve(handler, reader, writer)
        else:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            await writer.drain()

    def local_port(self, target: str) -> int | None:
        """The loopback port that stands for an address of the cluster; `None` when none does."""
        host, _, port = target.rpartition(":")
        if target in self._mapped:
            return self._mapped[target]
        if int(port) == KUBELET_PORT:
            return self._kubelet
        try:
            is_loopback = ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return None
        return int(port) if is_loopback and int(port) in self._open else None

    async def _carry(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


class KubeletServer:
    """The kubelet's API over TLS, with the API server's own certificate: it is not there from the start."""

    def __init__(self, config: dict[str, Any], kubelet: Kubelet) -> None:
        """Nothing is opened yet."""
        self._config = config
        self._kubelet = kubelet
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen, unless it does already."""
        if self._server is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._config["certificate"], self._config["key"])
            port = self._config["kubelet"]
            self._server = await asyncio.start_server(self._connection, LOOPBACK, port, ssl=context)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await serve(self._kubelet.answer, reader, writer)
        writer.close()


async def main(config: dict[str, Any]) -> None:
    """Serve until the process is told to end."""
    view = View(config)
    recordings = Path(config["recordings"]) if config["recordings"] else None
    pods = PodServer(view, recordings)
    kubelet = KubeletServer(config, Kubelet(view, recordings))
    egress = Egress(config, pods.at, kubelet.open)
    server = await asyncio.start_unix_server(egress.connection, config["socket"])
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
