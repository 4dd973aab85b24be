"""What a model server's spec says, and what its model needs: the same facts that KWOK's stages decide by."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from .places import MANIFESTS

Object = dict[str, Any]
GPU = "nvidia.com/gpu"
NEEDS_PREFIX = "lab/"


def catalogue() -> dict[str, dict[str, str]]:
    """What each model needs, by storage URI: names as in the `lab/` annotations, values as texts."""
    found: dict[str, dict[str, str]] = json.loads((MANIFESTS / "models.json").read_text())
    return found


def need(pod: Object, name: str, otherwise: float) -> float:
    """What a pod's model needs: its annotation `lab/<name>`, else the catalogue's word, else `otherwise`."""
    annotated = pod["metadata"].get("annotations", {}).get(NEEDS_PREFIX + name)
    listed = catalogue().get(storage_uri(pod), {}).get(name) if gpus_of(main_of(pod)) else None
    return float(annotated or listed or otherwise)


def main_of(pod: Object) -> Object:
    """The first container: the model server, by KServe's and everyone's custom."""
    container: Object = pod["spec"]["containers"][0]
    return container


def storage_uri(pod: Object) -> str:
    """Where KServe's storage-initializer is told to fetch the model from; empty when there is none."""
    for container in pod["spec"].get("initContainers", []):
        if container["name"] == "storage-initializer":
            return str((container.get("args") or [""])[0])
    return ""


def gpus_of(container: Object) -> int:
    """How many whole GPUs a container may use."""
    return int(container.get("resources", {}).get("limits", {}).get(GPU, 0))


def command_line(container: Object) -> str:
    """All words of a container's command, with those that KServe's presets take from the environment."""
    extra = [e.get("value", "") for e in container.get("env", []) if e["name"] == "VLLM_ADDITIONAL_ARGS"]
    return " ".join([*container.get("command", []), *container.get("args", []), *extra])


def flag_of(container: Object, name: str) -> str | None:
    """The value of a command line flag, or `None`; the last one counts, as it does for vLLM."""
    found = re.findall(rf"--{re.escape(name)}[= ]\s*\"?([^\"\s]+)", command_line(container))
    return found[-1] if found else None


def served_name(container: Object) -> str | None:
    """The name under which the model is served, or `None` when no flag gives it."""
    return flag_of(container, "served-model-name")


def probe_of(container: Object) -> Object | None:
    """The probe that ends a start which takes too long: startup, else liveness."""
    return container.get("startupProbe") or container.get("livenessProbe")


def budget_s(container: Object) -> float:
    """How long that probe lets a start take; endless without one."""
    probe = probe_of(container)
    if probe is None:
        return float("inf")
    tries: float = probe.get("failureThreshold", 3) * probe.get("periodSeconds", 10)
    return float(probe.get("initialDelaySeconds", 0)) + tries


def moment(text: str | None) -> datetime | None:
    """A Kubernetes timestamp, or `None`."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
