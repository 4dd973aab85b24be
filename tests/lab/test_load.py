"""Recorded objects in a bare control plane: what was written down is what a live reader sees."""

import json
from pathlib import Path
from typing import Any

import pytest
from tillerman_lab.control_plane import ControlPlane
from tillerman_lab.errors import ApiError
from tillerman_lab.fixtures import StartControlPlane
from tillerman_lab.load import load_objects

Object = dict[str, Any]
OLD = {"replica-set": "11111111-0000-4000-8000-000000000001", "pod": "11111111-0000-4000-8000-000000000002"}
BORN = "2026-03-01T08:00:00Z"


def labelled(name: str) -> Object:
    return {"matchLabels": {"app": name}}


def replica_set() -> Object:
    template = {"metadata": {"labels": {"app": "llm"}}, "spec": pod()["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": "llm-1",
            "namespace": "recorded",
            "uid": OLD["replica-set"],
            "resourceVersion": "77",
            "generation": 5,
            "creationTimestamp": BORN,
            "managedFields": [{"manager": "kubectl", "operation": "Update"}],
        },
        "spec": {"replicas": 1, "selector": labelled("llm"), "template": template},
        "status": {"replicas": 1, "observedGeneration": 5},
    }


def pod() -> Object:
    ended = {"exitCode": 137, "reason": "OOMKilled", "startedAt": BORN, "finishedAt": "2026-03-01T08:05:00Z"}
    status = {
        "name": "server",
        "image": "vllm/vllm-openai:v0.32.0",
        "imageID": "",
        "ready": True,
        "restartCount": 7,
        "state": {"running": {"startedAt": "2026-03-01T08:06:00Z"}},
        "lastState": {"terminated": ended},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "llm-1-x",
            "namespace": "recorded",
            "labels": {"app": "llm"},
            "uid": OLD["pod"],
            "creationTimestamp": BORN,
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "llm-1",
                    "uid": OLD["replica-set"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            "nodeName": "gpu-7",
            "containers": [
                {
                    "name": "server",
                    "image": "vllm/vllm-openai:v0.32.0",
                    "ports": [{"containerPort": 8000}],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}},
                }
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.20.30.40",
            "podIPs": [{"ip": "10.20.30.40"}],
            "containerStatuses": [status],
        },
    }


def event() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "llm-1-x.1", "namespace": "recorded"},
        "involvedObject": {"kind": "Pod", "name": "llm-1-x", "namespace": "recorded", "uid": OLD["pod"]},
        "type": "Warning",
        "reason": "BackOff",
        "message": "Back-off restarting failed container",
        "count": 7,
        "lastTimestamp": BORN,
    }


def node() -> Object:
    amounts = {"cpu": "64", "memory": "512Gi", "nvidia.com/gpu": "8"}
    addresses = [{"type": "InternalIP", "address": "10.20.0.7"}]
    endpoint = {"kubeletEndpoint": {"Port": 10250}}
    status = {
        "capacity": amounts,
        "allocatable": amounts,
        "addresses": addresses,
        "daemonEndpoints": endpoint,
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gpu-7"}, "status": status}


def isvc() -> Object:
    model = {"modelFormat": {"name": "vLLM"}, "storageUri": "hf://Qwen/Qwen3-8B"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "llm", "namespace": "recorded"},
        "spec": {"predictor": {"model": model}},
        "status": {"modelStatus": {"transitionStatus": "BlockedByFailedLoad"}},
    }


def monitor() -> Object:
    """Of a kind whose CRD is not among the published ones."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": "llm", "namespace": "recorded"},
        "spec": {"endpoints": [{"port": "http", "interval": "15s"}]},
    }


def service(address: str) -> Object:
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 8000}]
    spec = {"clusterIP": address, "clusterIPs": [address], "ports": ports, "selector": {"app": "llm"}}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "llm", "namespace": "recorded"},
        "spec": spec,
    }


def recorded() -> list[Object]:
    everything = [event(), pod(), replica_set(), node(), isvc(), monitor(), service("172.20.1.9")]
    return [{"apiVersion": "v1", "kind": "List", "items": everything}]


def test_objects_are_there_with_their_status(control_plane: ControlPlane) -> None:
    client = control_plane.admin
    loaded = load_objects(client, recorded())
    assert loaded.refused == []
    live = client.get("v1", "Pod", "llm-1-x", "recorded")
    owner = client.get("apps/v1", "ReplicaSet", "llm-1", "recorded")
    assert live["status"]["containerStatuses"] == pod()["status"]["containerStatuses"]
    assert live["spec"]["nodeName"] == "gpu-7"
    assert live["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"] != OLD["replica-set"]
    assert loaded.uids[OLD["pod"]] == live["metadata"]["uid"]
    about = client.get("v1", "Event", "llm-1-x.1", "recorded")["involvedObject"]["uid"]
    assert about == live["metadata"]["uid"]
    assert client.get("v1", "Node", "gpu-7")["status"]["allocatable"] == node()["status"]["allocatable"]
    found = client.get("serving.kserve.io/v1beta1", "InferenceService", "llm", "recorded")
    assert found["status"]["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert (
        client.get("monitoring.coreos.com/v1", "ServiceMonitor", "llm", "recorded")["spec"]
        == monitor()["spec"]
    )
    assert client.get("v1", "Service", "llm", "recorded")["spec"]["clusterIP"].startswith("10.96.")


def test_newer_form_of_an_event_is_taken(control_plane: ControlPlane) -> None:
    old = event()
    newer = {
        "apiVersion": "events.k8s.io/v1",
        **{key: old[key] for key in ("kind", "metadata", "type", "reason")},
        "note": old["message"],
        "regarding": old["involvedObject"],
        "deprecatedCount": old["count"],
        "deprecatedLastTimestamp": old["lastTimestamp"],
    }
    assert load_objects(control_plane.admin, [newer]).refused == []
    live = control_plane.admin.get("v1", "Event", "llm-1-x.1", "recorded")
    assert {key: live[key] for key in ("message", "count", "lastTimestamp")} == {
        key: old[key] for key in ("message", "count", "lastTimestamp")
    }


def test_exact_load_keeps_identity_and_age(control_plane: ControlPlane) -> None:
    loaded = control_plane.load(recorded())
    assert loaded.refused == []
    live = control_plane.admin.get("apps/v1", "ReplicaSet", "llm-1", "recorded")
    wanted = replica_set()["metadata"]
    kept = ("uid", "generation", "creationTimestamp")
    assert {key: live["metadata"][key] for key in kept} == {key: wanted[key] for key in kept}
    child = control_plane.admin.get("v1", "Pod", "llm-1-x", "recorded")
    assert child["status"] == pod()["status"]
    assert child["metadata"]["ownerReferences"][0]["uid"] == OLD["replica-set"]


def test_refused_object_does_not_stop_the_rest(control_plane: ControlPlane) -> None:
    wrong = {**isvc(), "metadata": {"name": "wrong", "namespace": "recorded"}, "spec": {"predictor": "none"}}
    loaded = load_objects(control_plane.admin, [wrong, isvc()])
    assert [(each.kind, each.namespace, each.name) for each in loaded.refused] == [
        ("InferenceService", "recorded", "wrong")
    ]
    assert "spec.predictor" in loaded.refused[0].message
    assert control_plane.admin.get("serving.kserve.io/v1beta1", "InferenceService", "llm", "recorded")


def test_loading_again_replaces(control_plane: ControlPlane) -> None:
    load_objects(control_plane.admin, [isvc()])
    changed = isvc()
    changed["status"]["modelStatus"]["transitionStatus"] = "UpToDate"
    assert load_objects(control_plane.admin, [changed]).refused == []
    live = control_plane.admin.get("serving.kserve.io/v1beta1", "InferenceService", "llm", "recorded")
    assert live["status"]["modelStatus"]["transitionStatus"] == "UpToDate"


def test_recorded_logs_and_scrapes_are_answered(
    start_control_plane: StartControlPlane, tmp_path: Path
) -> None:
    logs = tmp_path / "logs" / "recorded" / "llm-1-x"
    scrapes = tmp_path / "metrics" / "recorded" / "llm-1-x"
    logs.mkdir(parents=True)
    scrapes.mkdir(parents=True)
    (logs / "server.log").write_text("first\nsecond\n")
    for at in (1772352000, 1772352015):
        (scrapes / f"{at}.prom").write_text(f"vllm:num_requests_waiting {at}\n")
    plane = start_control_plane("", tmp_path)
    assert plane.load([node(), pod()]).refused == []
    path = "/api/v1/namespaces/recorded/pods/llm-1-x"
    assert plane.admin.text(f"{path}/log", tailLines="1") == "second\n"
    with pytest.raises(ApiError, match="previous terminated container"):
        plane.admin.text(f"{path}/log", previous="true")
    told = [plane.admin.text(f"{path}:8000/proxy/metrics").split()[-1] for _ in range(3)]
    assert told == ["1772352000", "1772352015", "1772352015"]


def test_nobody_listens_where_nothing_was_recorded(control_plane: ControlPlane) -> None:
    stopped = pod()
    stopped["status"] = {"phase": "Pending"}
    control_plane.load([node(), stopped])
    answer = control_plane.admin.request("GET", "/api/v1/namespaces/recorded/pods/llm-1-x:8000/proxy/metrics")
    assert not answer.is_success
    assert json.loads(answer.text)["kind"] == "Status"
