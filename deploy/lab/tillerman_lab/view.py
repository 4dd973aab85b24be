"""What the lab's node side knows of the cluster: asked of the API server when it is needed, never kept."""

import ssl
from typing import Any

import httpx

Object = dict[str, Any]


class View:
    """Pods by address or by name, and nodes."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Read as the administrator; the certificate is not there yet when the first lab starts."""
        self._config = config
        self.speed = float(config["speed"])
        self._client: httpx.AsyncClient | None = None

    async def pod_at(self, address: str) -> Object | None:
        """The running pod that has an address, or `None`."""
        found = await self._get("/api/v1/pods", fieldSelector=f"status.podIP={address}")
        for pod in (found or {}).get("items", []):
            if not pod["spec"].get("hostNetwork") and pod["status"].get("phase") == "Running":
                return dict(pod)
        return None

    async def pod(self, namespace: str, name: str) -> Object | None:
        """A pod by name, or `None`."""
        return await self._get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    async def node(self, name: str) -> Object | None:
        """A node by name, or `None`."""
        return await self._get(f"/api/v1/nodes/{name}")

    async def pods_on(self, node: str) -> list[Object]:
        """The pods that run on a node, the oldest first."""
        found = await self._get("/api/v1/pods", fieldSelector=f"spec.nodeName={node},status.phase=Running")
        return sorted(
            (found or {}).get("items", []), key=lambda pod: str(pod["metadata"]["creationTimestamp"])
        )

    async def _get(self, path: str, **parameters: str) -> Object | None:
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self._config["api"],
                verify=ssl.create_default_context(cafile=self._config["certificate"]),
                headers={"Authorization": f"Bearer {self._config['token']}"},
                trust_env=False,
            )
        answer = await self._client.get(path, params=parameters)
        return dict(answer.json()) if answer.is_success else None


def ready_containers(pod: Object) -> list[Object]:
    """The specs of the pod's containers that are ready, sidecars among the init containers included."""
    status, spec = pod["status"], pod["spec"]
    told = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
    ready = {each["name"] for each in told if each.get("ready") and "running" in each.get("state", {})}
    return [each for each in [*spec["containers"], *spec.get("initContainers", [])] if each["name"] in ready]


def ports_of(container: Object) -> set[int]:
    """The ports a container listens on, as far as its spec tells: declared or probed."""
    found = {int(port["containerPort"]) for port in container.get("ports", [])}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        port = container.get(probe, {}).get("httpGet", {}).get("port")
        found |= {port} if isinstance(port, int) else set()
    return found
