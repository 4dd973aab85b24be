"""What answers on a pod's address: a vLLM server's `/metrics`, `/health`, `/v1/models`; a recorded scrape."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from . import dcgm, series
from .needs import flag_of, served_name
from .view import View, ports_of, ready_containers
from .web import Answer, Handler

Object = dict[str, Any]
JSON = "application/json"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


class PodServer:
    """Finds who answers on an address and a port of the cluster."""

    def __init__(self, view: View, recordings: Path | None) -> None:
        """With `recordings`, a snapshot directory, its scrapes are answered instead of the lab's own."""
        self._view = view
        self._recordings = recordings
        self._given: dict[Path, int] = {}

    async def at(self, address: str, port: int) -> Handler | None:
        """The handler of a pod's port; `None` when no pod has the address or nothing listens there."""
        pod = await self._view.pod_at(address)
        if pod is None:
            return None
        if self._scrapes(pod):
            return partial(self._recorded, pod)
        for container in ready_containers(pod):
            if port in ports_of(container):
                if port == dcgm.PORT:
                    return partial(self._exporter, pod)
                return partial(_engine if _is_engine(container) else _plain, pod, container)
        return None

    async def _exporter(self, pod: Object, method: str, path: str, query: dict[str, str]) -> Answer:
        """The DCGM exporter of the pod's node."""
        name = pod["spec"]["nodeName"]
        node = await self._view.node(name)
        if path != "/metrics" or node is None:
            return Answer(200 if path == "/health" else 404)
        return Answer(200, dcgm.scrape(node, await self._view.pods_on(name)), METRICS)

    async def _recorded(self, pod: Object, method: str, path: str, query: dict[str, str]) -> Answer:
        """Each scrape in turn, as time would have it; the last one from then on."""
        if path != "/metrics":
            return Answer(200 if path == "/health" else 404)
        scrapes = self._scrapes(pod)
        folder = scrapes[0].parent
        at = min(self._given.get(folder, 0), len(scrapes) - 1)
        self._given[folder] = at + 1
        return Answer(200, scrapes[at].read_text(), METRICS)

    def _scrapes(self, pod: Object) -> list[Path]:
        if self._recordings is None:
            return []
        meta = pod["metadata"]
        folder = self._recordings / "metrics" / meta["namespace"] / meta["name"]
        return sorted(folder.glob("*.prom"), key=lambda path: float(path.stem))


def _is_engine(container: Object) -> bool:
    limits = container.get("resources", {}).get("limits", {})
    return any(name.startswith("nvidia.com/") for name in limits) and "vllm" in _words(container)


def _words(container: Object) -> str:
    return " ".join([container["image"], *container.get("command", []), *container.get("args", [])]).lower()


async def _engine(pod: Object, container: Object, method: str, path: str, query: dict[str, str]) -> Answer:
    """A vLLM server that has loaded its model."""
    name = served_name(container) or pod["metadata"]["name"]
    if path == "/metrics":
        return Answer(200, series.scrape(pod, name, time.time()), METRICS)
    if path in ("/health", "/ping"):
        return Answer(200)
    if path == "/version":
        return Answer(200, json.dumps({"version": "0.32.0"}), JSON)
    if path == "/v1/models":
        length = int(flag_of(container, "max-model-len") or 0) or None
        model = {
            "id": name,
            "object": "model",
            "owned_by": "vllm",
            "root": "/mnt/models",
            "max_model_len": length,
        }
        return Answer(200, json.dumps({"object": "list", "data": [model]}), JSON)
    return Answer(404, json.dumps({"detail": "Not Found"}), JSON)


async def _plain(pod: Object, container: Object, method: str, path: str, query: dict[str, str]) -> Answer:
    """Any other server: it is healthy and has nothing to tell; an endpoint picker asks who wants to know."""
    if path == "/metrics" and "/app/epp" in container.get("command", []):
        return Answer(401, "Unauthorized\n")
    return Answer(200) if path in ("/health", "/healthz", "/readyz") else Answer(404, "404 page not found\n")
