"""The metrics of a node's DCGM exporter: one series per GPU, busy where a pod of the node uses it."""

import zlib
from typing import Any

from .needs import gpus_of, need

Object = dict[str, Any]
PORT = 9400
GPU = "nvidia.com/gpu"
RESERVED_MIB = 520
IDLE_W, BUSY_W = 68.0, 540.0


def scrape(node: Object, pods: list[Object]) -> str:
    """What `/metrics` of the exporter on a node says, given the pods of that node."""
    labels = node["metadata"]["labels"]
    count, memory = int(labels.get(f"{GPU}.count", 0)), int(labels.get(f"{GPU}.memory", 0))
    users = [
        pod for pod in pods for container in pod["spec"]["containers"] for _ in range(gpus_of(container))
    ]
    lines: dict[str, list[str]] = {}
    for index in range(count):
        user = users[index] if index < len(users) else None
        named = _labels(node, index, user)
        for name, value in _values(memory, user):
            lines.setdefault(name, []).append(f"{name}{{{named}}} {value}")
    text = ""
    for name, samples in lines.items():
        text += f"# TYPE {name} gauge\n" + "".join(f"{sample}\n" for sample in samples)
    return text


def _values(memory: int, user: Object | None) -> list[tuple[str, float]]:
    ready = user is not None and _is_ready(user)
    busy = min(need(user, "kv", 0.18) + 0.2, 1.0) if user and ready else 0.0
    used = memory * 0.92 - RESERVED_MIB if ready else 0.0
    return [
        ("DCGM_FI_DEV_GPU_UTIL", round(100 * busy)),
        ("DCGM_FI_DEV_MEM_COPY_UTIL", round(60 * busy)),
        ("DCGM_FI_DEV_FB_FREE", round(memory - used - RESERVED_MIB)),
        ("DCGM_FI_DEV_FB_USED", round(used)),
        ("DCGM_FI_DEV_FB_RESERVED", RESERVED_MIB),
        ("DCGM_FI_DEV_GPU_TEMP", round(34 + 32 * busy)),
        ("DCGM_FI_DEV_POWER_USAGE", round(IDLE_W + (BUSY_W - IDLE_W) * busy, 1)),
        ("DCGM_FI_DEV_XID_ERRORS", 0),
    ]


def _labels(node: Object, index: int, user: Object | None) -> str:
    name = node["metadata"]["name"]
    labels = node["metadata"]["labels"]
    pairs = {
        "gpu": str(index),
        "UUID": f"GPU-{zlib.crc32(name.encode()):08x}-0000-0000-0000-{index:012d}",
        "device": f"nvidia{index}",
        "modelName": labels.get(f"{GPU}.product", "").replace("-", " "),
        "Hostname": name,
        "DCGM_FI_DRIVER_VERSION": labels.get("nvidia.com/cuda.driver-version.full", ""),
    }
    if user:
        container = next(each for each in user["spec"]["containers"] if gpus_of(each))
        meta = user["metadata"]
        pairs |= {"namespace": meta["namespace"], "pod": meta["name"], "container": container["name"]}
    return ",".join(f'{key}="{value}"' for key, value in pairs.items())


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
