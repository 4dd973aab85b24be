"""KServe's own objects, as its release has them, told where its controllers listen; and the controllers."""

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ryaml

from .addresses import KSERVE_PORT, LLMISVC_PORT, LOOPBACK, SERVICE_IP
from .build import binary
from .client import Client, Object
from .control_plane import READY_WITHIN_S, ControlPlane
from .places import kserve_folder
from .ports import listens

NAMESPACE = "kserve"
GATEWAY = "kserve-ingress-gateway"
IMAGES = {
    "vllmserver:replace": "vllm/vllm-openai:v0.32.0",
    "huggingfaceserver:replace": "kserve/huggingfaceserver:v0.20.0",
    "default-storage-initilizer:replace": "kserve/storage-initializer:v0.20.0",
}
RUNTIMES = ("kserve-vllmserver", "kserve-huggingfaceserver")
CONVERTED = ("llminferenceservices", "llminferenceserviceconfigs")
SETTINGS: dict[str, Object] = {
    "deploy": {"defaultDeploymentMode": "Standard"},
    "ingress": {"disableIngressCreation": True, "disableIstioVirtualHost": True},
}
"""What the lab's configuration says other than the release's: no Knative, no Istio."""


def install(client: Client, ca: str) -> None:
    """Create what KServe's controllers want to find when they start, and the webhooks they will answer."""
    for each in _objects():
        client.ensure(each)
    bundle = base64.b64encode(ca.encode()).decode()
    for each in _webhooks(bundle):
        client.ensure(each)
    for plural in CONVERTED:
        called = {"url": f"https://{SERVICE_IP}:{LLMISVC_PORT}/convert", "caBundle": bundle}
        webhook = {"clientConfig": called, "conversionReviewVersions": ["v1", "v1beta1"]}
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.serving.kserve.io"
        client.call("PATCH", path, {"spec": {"conversion": {"strategy": "Webhook", "webhook": webhook}}})


def start(plane: ControlPlane) -> None:
    """Start the two controllers and wait until their webhooks answer.

    They read their certificate below `$TMPDIR`, with no flag for another place; the API server's own will do.
    """
    folder = plane.folder / "hook" / "k8s-webhook-server" / "serving-certs"
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in (("tls.crt", "apiserver.crt"), ("tls.key", "apiserver.key")):
        shutil.copyfile(plane.folder / "pki" / source, folder / name)
        (folder / name).chmod(0o600)
    env = {
        "TMPDIR": str(plane.folder / "hook"),
        "POD_NAMESPACE": NAMESPACE,
        "KUBECONFIG": str(plane.kubeconfig),
    }
    plane.processes.start("kserve-manager", _argv("kserve-manager", plane.ports.kserve), env)
    secure = [*_argv("kserve-llmisvc", plane.ports.llmisvc), "--metrics-secure=false"]
    plane.processes.start("kserve-llmisvc", secure, env)
    ports = (plane.ports.kserve[0], plane.ports.llmisvc[0])
    plane.processes.wait_until("KServe's webhooks", lambda: all(map(listens, ports)), READY_WITHIN_S)


def _argv(name: str, ports: tuple[int, int, int]) -> list[str]:
    hooks, metrics, health = ports
    return [
        str(binary(name)),
        f"--webhook-port={hooks}",
        f"--metrics-addr={LOOPBACK}:{metrics}",
        f"--health-probe-addr={LOOPBACK}:{health}",
    ]


def _objects() -> Iterator[Object]:
    folder = kserve_folder()
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    yield _configuration(folder / "configmap" / "inferenceservice.yaml")
    yield from _read(folder / "storagecontainers" / "default.yaml")
    for name in RUNTIMES:
        yield from _read(folder / "runtimes" / f"{name}.yaml")
    for path in sorted((folder / "llmisvcconfig").glob("config-*.yaml")):
        for each in _read(path):
            yield {**each, "metadata": {**each["metadata"], "namespace": NAMESPACE}}
    networking = "gateway.networking.k8s.io"
    yield {
        "apiVersion": f"{networking}/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "lab"},
        "spec": {"controllerName": "lab.example/gateway"},
    }
    listener = {
        "name": "http",
        "port": 80,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    yield {
        "apiVersion": f"{networking}/v1",
        "kind": "Gateway",
        "metadata": {"name": GATEWAY, "namespace": NAMESPACE},
        "spec": {"gatewayClassName": "lab", "listeners": [listener]},
    }


def _configuration(path: Path) -> Object:
    """The release's ConfigMap with the lab's settings in it, and without its example."""
    (found,) = _read(path)
    values = {key: value for key, value in found["data"].items() if key != "_example"}
    for key, settings in SETTINGS.items():
        values[key] = json.dumps({**json.loads(values[key]), **settings})
    meta = {"name": "inferenceservice-config", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": values}


def _webhooks(bundle: str) -> Iterator[Object]:
    """The release's webhooks, called by an address that only the egress proxy knows how to reach."""
    folder = kserve_folder() / "webhook"
    for path, port in ((folder, KSERVE_PORT), (folder / "llmisvc", LLMISVC_PORT)):
        for each in _read(path / "manifests.yaml"):
            for hook in each["webhooks"]:
                called = hook["clientConfig"].pop("service")["path"]
                hook["clientConfig"] = {"url": f"https://{SERVICE_IP}:{port}{called}", "caBundle": bundle}
            yield {**each, "metadata": {"name": each["metadata"]["name"]}}


def _read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    for placeholder, image in IMAGES.items():
        text = text.replace(placeholder, image)
    return [document for document in ryaml.loads_all(text) if isinstance(document, dict)]
