"""Times `tillerman diagnose` on a big cluster against parsing the same bytes with orjson alone, in the same
run.

Prints seconds, ratios and peak memory for a whole cluster (5,000 nodes, 50,000 pods as JSON lists) and for
half of it.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NODES = 5_000
PODS_A_NODE = 10
REPEATS = 3
#: What the project promises. Source: README, "Numbers".
MOST_TIMES_ORJSON = 4.0
MOST_BYTES = int(1.5 * 1024**3)

ORJSON = """
import sys, orjson
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        orjson.loads(file.read())
"""


def node(at: int) -> dict[str, Any]:
    gpus = {"nvidia.com/gpu": "8"} if at % 4 == 0 else {}
    room = {"cpu": "96", "memory": "1056Gi", "ephemeral-storage": "1800Gi", "pods": "110", **gpus}
    labels = {f"feature.node.kubernetes.io/cpu-cpuid.F{n}": "true" for n in range(30)}
    if gpus:
        labels |= {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": "8"}
    kinds = (
        ("MemoryPressure", "False"),
        ("DiskPressure", "False"),
        ("PIDPressure", "False"),
        ("Ready", "True"),
    )
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": f"node-{at:05}",
            "uid": f"00000000-0000-4000-8000-{at:012}",
            "creationTimestamp": "2026-10-01T08:00:00Z",
            "labels": {"kubernetes.io/hostname": f"node-{at:05}", "kubernetes.io/os": "linux", **labels},
        },
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]} if gpus else {},
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [
                {
                    "type": t,
                    "status": s,
                    "reason": f"Kubelet{t}",
                    "message": "kubelet is posting",
                    "lastTransitionTime": "2026-10-01T08:05:00Z",
                }
                for t, s in kinds
            ],
            "nodeInfo": {
                "kubeletVersion": "v1.37.2",
                "architecture": "amd64",
                "osImage": "Ubuntu 24.04.3 LTS",
            },
            "images": [
                {
                    "names": [f"registry.example/app-{n}@sha256:{n:064x}", f"registry.example/app-{n}:1.{n}"],
                    "sizeBytes": 10**8 + n,
                }
                for n in range(20)
            ],
        },
    }


def pod(node_at: int, at: int) -> dict[str, Any]:
    server = node_at % 4 == 0 and at == 0
    name, app = f"app-{node_at * PODS_A_NODE + at}", f"app-{(node_at * PODS_A_NODE + at) // 20}"
    container: dict[str, Any] = {
        "name": "server",
        "image": "vllm/vllm-openai:v0.32.0" if server else "registry.example/app:1.4.2",
        "args": ["--model=Qwen/Qwen3-32B", "--tensor-parallel-size=8"]
        if server
        else ["serve", "--listen=:8080"],
        "ports": [{"containerPort": 8000, "name": "http", "protocol": "TCP"}],
        "env": [{"name": f"SETTING_{n}", "value": f"value-{n}"} for n in range(8)],
        "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi", **({"nvidia.com/gpu": "8"} if server else {})},
            "limits": {"memory": "1Gi", **({"nvidia.com/gpu": "8"} if server else {})},
        },
        "volumeMounts": [
            {
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                "name": "kube-api-access",
                "readOnly": True,
            }
        ],
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    } | {
        probe: {
            "httpGet": {"path": "/health", "port": 8000, "scheme": "HTTP"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "successThreshold": 1,
            "failureThreshold": 6,
        }
        for probe in ("livenessProbe", "readinessProbe", "startupProbe")
    }
    conditions = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": f"team-{node_at % 50}",
            "uid": f"10000000-0000-4000-8000-{node_at * PODS_A_NODE + at:012}",
            "resourceVersion": str(10**8 + at),
            "creationTimestamp": "2026-11-01T08:00:00Z",
            "labels": {"app.kubernetes.io/name": app, "pod-template-hash": "7d9f8b6c5d"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8000"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": f"{app}-7d9f8b6c5d",
                    "uid": f"2{at:035}",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "containers": [container],
            "nodeName": f"node-{node_at:05}",
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30,
            "tolerations": [
                {"key": k, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
                for k in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
            ],
            "volumes": [
                {
                    "name": "kube-api-access",
                    "projected": {
                        "defaultMode": 420,
                        "sources": [
                            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                            {"configMap": {"name": "kube-root-ca.crt"}},
                        ],
                    },
                }
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.{node_at // 250}.{node_at % 250}.{at}",
            "startTime": "2026-11-01T08:00:01Z",
            "qosClass": "Burstable",
            "conditions": [
                {
                    "type": c,
                    "status": "True",
                    "lastProbeTime": None,
                    "lastTransitionTime": "2026-11-01T08:02:00Z",
                }
                for c in conditions
            ],
            "containerStatuses": [
                {
                    "name": "server",
                    "image": container["image"],
                    "imageID": f"registry.example/app@sha256:{at:064x}",
                    "containerID": f"containerd://{at:064x}",
                    "ready": True,
                    "started": True,
                    "restartCount": 0,
                    "lastState": {},
                    "state": {"running": {"startedAt": "2026-11-01T08:00:05Z"}},
                }
            ],
        },
    }


def write_list(path: Path, items: Iterator[dict[str, Any]]) -> None:
    """A list as `kubectl get -o json` prints it, written an item at a time."""
    with path.open("w") as file:
        file.write('{"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [')
        for at, item in enumerate(items):
            file.write(("," if at else "") + json.dumps(item))
        file.write("]}")


def write_cluster(root: Path, nodes: int) -> list[Path]:
    cluster = root / "cluster"
    cluster.mkdir(parents=True)
    (root / "snapshot.yaml").write_text('taken_at: "2026-11-20T12:00:00Z"\n')
    write_list(cluster / "nodes.json", (node(at) for at in range(nodes)))
    write_list(cluster / "pods.json", (pod(at, k) for at in range(nodes) for k in range(PODS_A_NODE)))
    return [cluster / "nodes.json", cluster / "pods.json"]


def measured(command: list[str]) -> tuple[float, int]:
    """CPU and wall of the fastest of some runs: wall seconds, and the highest peak memory in bytes."""
    walls, peaks = [], []
    for _ in range(REPEATS):
        started = os.times().elapsed
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{command} ended with {child.returncode}")
        walls.append(os.times().elapsed - started)
        peaks.append(usage.ru_maxrss * 1024)
    return min(walls), max(peaks)


def compare(nodes: int) -> tuple[float, float, int]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = write_cluster(root, nodes)
        size = sum(path.stat().st_size for path in files)
        plain, plain_peak = measured([sys.executable, "-c", ORJSON, *map(str, files)])
        ours, peak = measured(
            [sys.executable, "-m", "tillerman", "diagnose", "--snapshot", str(root), "--json"]
        )
    mib = 1024**2
    print(f"{nodes} nodes, {nodes * PODS_A_NODE} pods, {size / mib:.0f} MiB of JSON")
    print(f"  orjson alone         {plain:6.2f} s   peak {plain_peak / mib:6.0f} MiB")
    print(
        f"  tillerman diagnose   {ours:6.2f} s   peak {peak / mib:6.0f} MiB   {ours / plain:.2f} times orjson"
    )
    return ours, ours / plain, peak


def main() -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    half, _, _ = compare(NODES // 2)
    whole, ratio, peak = compare(NODES)
    print(f"whole / half: {whole / half:.2f}")
    good = ratio <= MOST_TIMES_ORJSON and peak <= MOST_BYTES
    promise = f"at most {MOST_TIMES_ORJSON:g} times orjson and {MOST_BYTES / 1024**2:.0f} MiB"
    print(f"promised: {promise}: {'kept' if good else 'BROKEN'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
