"""The ports of one lab: a block of neighbours on the loopback address."""

import socket
from dataclasses import dataclass

from .addresses import LOOPBACK
from .errors import LabError

BLOCK = 20
"""Ports kept for one lab; it uses the first thirteen."""
HIGHEST = 65_000


@dataclass(frozen=True)
class Ports:
    """The ports of the lab whose block begins at `base`."""

    base: int

    @property
    def api(self) -> int:
        """The API server, over TLS."""
        return self.base

    @property
    def etcd(self) -> int:
        """Clients of etcd."""
        return self.base + 1

    @property
    def etcd_peer(self) -> int:
        """Peers of etcd: there are none, but it wants the port."""
        return self.base + 2

    @property
    def scheduler(self) -> int:
        """The scheduler's health and metrics."""
        return self.base + 3

    @property
    def controllers(self) -> int:
        """The controller manager's health and metrics."""
        return self.base + 4

    @property
    def kwok(self) -> int:
        """KWOK's own server."""
        return self.base + 5

    @property
    def kubelet(self) -> int:
        """The one kubelet that answers for all nodes: container logs."""
        return self.base + 6

    @property
    def kserve(self) -> tuple[int, int, int]:
        """KServe's InferenceService controller: webhooks, metrics, health."""
        return self.base + 7, self.base + 8, self.base + 9

    @property
    def llmisvc(self) -> tuple[int, int, int]:
        """KServe's LLMInferenceService controller: webhooks, metrics, health."""
        return self.base + 10, self.base + 11, self.base + 12

    def busy(self) -> list[int]:
        """The ports of the block that somebody listens on."""
        return [port for port in range(self.base, self.base + BLOCK) if not _is_free(port)]


def free_block(base: int) -> Ports:
    """The first block at or above `base` that nobody uses. Raises `LabError` when there is none."""
    for start in range(base, min(base + 40 * BLOCK, HIGHEST), BLOCK):
        if not Ports(start).busy():
            return Ports(start)
    raise LabError(f"no {BLOCK} free ports in a row from {base} on", hint="name another `--ports BASE`")


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
