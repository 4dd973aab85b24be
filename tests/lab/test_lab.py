"""The lab is a cluster: what is asked of it is asked of a real API server, and real controllers answer."""

import shutil
import ssl
import subprocess
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tillerman_lab.client import Client
from tillerman_lab.control_plane import ControlPlane
from tillerman_lab.errors import ApiError

Object = dict[str, Any]
KSERVE = "serving.kserve.io/v1beta1"
LLMISVC = "serving.kserve.io/v1alpha2"


def condition(thing: Object, kind: str = "Ready") -> str:
    conditions = thing.get("status", {}).get("conditions", [])
    return next((each["status"] for each in conditions if each["type"] == kind), "")


def pods_of(client: Client, namespace: str, name: str) -> list[Object]:
    return client.list("v1", "Pod", namespace, labelSelector=f"serving.kserve.io/inferenceservice={name}")


def ready_pod(lab: ControlPlane, namespace: str, name: str) -> Object:
    def found() -> list[Object]:
        return [pod for pod in pods_of(lab.admin, namespace, name) if condition(pod) == "True"]

    pods: list[Object] = lab.wait_for(f"a ready pod of {namespace}/{name}", found)
    return pods[0]


def crashed(lab: ControlPlane, namespace: str, selector: str) -> Object:
    """How the last life of the only pod that matches ended."""

    def found() -> Object:
        for pod in lab.admin.list("v1", "Pod", namespace, labelSelector=selector):
            for status in pod["status"].get("containerStatuses", []):
                if ended := status.get("lastState", {}).get("terminated"):
                    return {"pod": pod["metadata"]["name"], "container": status["name"], **ended}
        return {}

    answer: Object = lab.wait_for(f"a crash of {selector}", found)
    return answer


def log_path(namespace: str, pod: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{pod}/log"


def scrape(lab: ControlPlane, namespace: str, pod: str, port: int) -> dict[str, float]:
    """The samples of one scrape through the API server, by name and labels."""
    text = lab.admin.text(f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics")
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_nodes_carry_what_the_gpu_stack_writes(lab: ControlPlane) -> None:
    nodes = {node["metadata"]["name"]: node for node in lab.admin.list("v1", "Node")}
    gpus = {name: node["status"]["allocatable"].get("nvidia.com/gpu", "0") for name, node in nodes.items()}
    assert gpus == {
        **{"cpu-0": "0", "cpu-1": "0", "h100-0": "8", "h100-1": "8", "a100-0": "4", "a100-1": "4"},
        **{"l4-0": "1", "l4-1": "1", "l4-2": "1", "l4-3": "1", "t4-0": "1", "t4-1": "1"},
    }
    assert {name for name, node in nodes.items() if node["spec"].get("unschedulable")} == {"l4-3"}
    assert nodes["h100-0"]["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    assert ("nvidia.com/gpu", "NoSchedule") in {
        (t["key"], t["effect"]) for t in nodes["h100-0"]["spec"]["taints"]
    }
    lab.wait_for("nodes", lambda: all(condition(node) == "True" for node in lab.admin.list("v1", "Node")))


def test_inference_service_becomes_a_ready_pod(lab: ControlPlane) -> None:
    pod = ready_pod(lab, "chat", "assistant")
    deployment = lab.admin.get("apps/v1", "Deployment", "assistant-predictor", "chat")
    assert deployment["metadata"]["ownerReferences"][0]["kind"] == "InferenceService"
    assert lab.admin.get("v1", "Node", pod["spec"]["nodeName"])["metadata"]["labels"][
        "nvidia.com/gpu.product"
    ] == ("NVIDIA-L4")
    assert [container["name"] for container in pod["spec"]["initContainers"]] == ["storage-initializer"]
    lab.wait_for(
        "chat/assistant being ready",
        lambda: condition(lab.admin.get(KSERVE, "InferenceService", "assistant", "chat")) == "True",
    )


def test_llm_inference_service_becomes_ready_with_pool_and_route(lab: ControlPlane) -> None:
    def ready() -> bool:
        return condition(lab.admin.get(LLMISVC, "LLMInferenceService", "qwen3-32b", "chat")) == "True"

    lab.wait_for("chat/qwen3-32b being ready", ready)
    assert len(lab.admin.list("inference.networking.k8s.io/v1", "InferencePool", "chat")) == 1
    assert len(lab.admin.list("gateway.networking.k8s.io/v1", "HTTPRoute", "chat")) == 1


def test_short_probe_kills_the_load(lab: ControlPlane) -> None:
    ended = crashed(lab, "search", "serving.kserve.io/inferenceservice=summarizer")
    assert (ended["exitCode"], ended["reason"]) == (137, "Error")
    events = lab.admin.list("v1", "Event", "search", fieldSelector=f"involvedObject.name={ended['pod']}")
    said = {event["reason"]: event["message"] for event in events}
    assert said["Killing"] == "Container kserve-container failed startup probe, will be restarted"
    assert said["Unhealthy"].startswith("Startup probe failed: Get ")
    log = lab.admin.text(log_path("search", ended["pod"]), container="kserve-container", previous="true")
    assert "Loading safetensors checkpoint shards" in log
    assert "Application startup complete" not in log


def test_small_memory_limit_is_out_of_memory(lab: ControlPlane) -> None:
    ended = crashed(lab, "search", "serving.kserve.io/inferenceservice=extractor")
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_tensor_parallel_beyond_the_gpus_ends_with_vllms_words(lab: ControlPlane) -> None:
    selector = "app.kubernetes.io/name=gpt-oss-120b,kserve.io/component=workload"
    ended = crashed(lab, "search", selector)
    assert (ended["exitCode"], ended["reason"]) == (1, "Error")
    log = lab.admin.text(log_path("search", ended["pod"]), container="main", previous="true")
    assert "World size (4) is larger than the number of available GPUs (2) in this node." in log


def test_product_nobody_has_stays_pending(lab: ControlPlane) -> None:
    def refused() -> str:
        for pod in pods_of(lab.admin, "batch", "translator"):
            for each in pod["status"].get("conditions", []):
                if each["type"] == "PodScheduled" and each["status"] == "False":
                    return str(each["message"])
        return ""

    assert "didn't match Pod's node affinity/selector" in lab.wait_for("translator being refused", refused)


def test_changed_memory_heals(lab: ControlPlane) -> None:
    lab.admin.ensure({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "heal"}})
    resources = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
    lab.admin.ensure(
        {
            "apiVersion": KSERVE,
            "kind": "InferenceService",
            "metadata": {"name": "reader", "namespace": "heal"},
            "spec": {
                "predictor": {
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                    "model": {
                        "modelFormat": {"name": "vLLM"},
                        "storageUri": "hf://Qwen/Qwen3-8B",
                        "resources": {"requests": resources, "limits": resources},
                    },
                }
            },
        }
    )
    assert crashed(lab, "heal", "serving.kserve.io/inferenceservice=reader")["reason"] == "OOMKilled"
    path = "/apis/serving.kserve.io/v1beta1/namespaces/heal/inferenceservices/reader"
    memory = "/spec/predictor/model/resources"
    edits = [
        {"op": "replace", "path": f"{memory}/{each}/memory", "value": "32Gi"}
        for each in ("limits", "requests")
    ]
    with lab.client("writer") as writer:
        writer.call("PATCH", path, edits)
    pod = ready_pod(lab, "heal", "reader")
    assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "32Gi"


def test_longer_probe_heals(lab: ControlPlane) -> None:
    crashed(lab, "search", "serving.kserve.io/inferenceservice=summarizer")
    longer = [{"op": "replace", "path": "/spec/predictor/model/startupProbe/failureThreshold", "value": 24}]
    with lab.client("writer") as writer:
        path = "/apis/serving.kserve.io/v1beta1/namespaces/search/inferenceservices/summarizer"
        was = writer.call("GET", path)["spec"]["predictor"]["model"]["startupProbe"]["failureThreshold"]
        writer.call("PATCH", path, longer)
        ready_pod(lab, "search", "summarizer")
        writer.call("PATCH", path, [{**longer[0], "value": was}])


def test_log_tells_the_phases_of_the_start(lab: ControlPlane) -> None:
    pod = ready_pod(lab, "chat", "assistant")
    path = log_path("chat", pod["metadata"]["name"])
    log = lab.admin.text(path, container="kserve-container")
    # Llama-3.1-8B needs 170 s in the catalogue, 45 % of them for weights and 25 % for torch.compile
    assert "Loading weights took 76.50 seconds" in log
    assert "torch.compile took 42.50 s in total" in log
    assert "INFO:     Application startup complete." in log
    assert "Model downloaded in 60.0000 seconds." in lab.admin.text(path, container="storage-initializer")
    assert lab.admin.text(path, container="kserve-container", tailLines="1").count("\n") == 1
    with pytest.raises(ApiError, match="previous terminated container"):
        lab.admin.text(path, container="kserve-container", previous="true")


def test_metrics_grow_between_two_scrapes(lab: ControlPlane) -> None:
    pod = ready_pod(lab, "chat", "reviewer")["metadata"]["name"]
    tokens = "vllm:generation_tokens_total[('engine', '0'), ('model_name', 'reviewer')]"
    first = scrape(lab, "chat", pod, 8080)
    assert first["vllm:num_requests_waiting[('engine', '0'), ('model_name', 'reviewer')]"] == 38
    assert first["vllm:kv_cache_usage_perc[('engine', '0'), ('model_name', 'reviewer')]"] == 0.97
    lab.wait_for("tokens", lambda: scrape(lab, "chat", pod, 8080)[tokens] > first[tokens], 10)


def test_gpu_exporter_names_the_pod_that_uses_a_gpu(lab: ControlPlane) -> None:
    pod = ready_pod(lab, "chat", "reviewer")
    on_its_node = f"spec.nodeName={pod['spec']['nodeName']}"
    exporters = lab.admin.list(
        "v1", "Pod", "gpu-operator", labelSelector="app=nvidia-dcgm-exporter", fieldSelector=on_its_node
    )
    used = scrape(lab, "gpu-operator", exporters[0]["metadata"]["name"], 9400)
    about_it = {key: value for key, value in used.items() if pod["metadata"]["name"] in key}
    assert [value for key, value in about_it.items() if key.startswith("DCGM_FI_DEV_GPU_UTIL")] == [100]


def test_egress_reaches_pods_and_nothing_else(lab: ControlPlane) -> None:
    pod = ready_pod(lab, "chat", "assistant")["metadata"]["name"]
    proxied = f"/api/v1/namespaces/chat/pods/{pod}"
    assert lab.admin.request("GET", f"{proxied}:8080/proxy/health").status_code == 200
    assert lab.admin.request(
        "GET", "/api/v1/namespaces/chat/services/assistant-predictor:80/proxy/health"
    ).is_success
    assert "502" in lab.admin.request("GET", f"{proxied}:22/proxy/").json()["message"]


@pytest.mark.parametrize("target", ["192.0.2.1:80", "10.64.255.254:8080", "127.0.0.1:22", "example.org:443"])
def test_egress_refuses_other_addresses(lab: ControlPlane, target: str) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(lab.folder / "egress.sock"))) as proxy:
        request = proxy.build_request("CONNECT", "http://egress")
        request.extensions["target"] = target.encode()
        assert proxy.send(request).status_code == 502


def test_reader_reads_and_nothing_more(lab: ControlPlane) -> None:
    with lab.client("reader") as reader:
        assert reader.list("v1", "Node")
        assert reader.list(KSERVE, "InferenceService", "chat")
        pod = ready_pod(lab, "chat", "assistant")["metadata"]["name"]
        assert reader.text(log_path("chat", pod), container="kserve-container")
        assert reader.text(f"/api/v1/namespaces/chat/pods/{pod}:8080/proxy/metrics")
        for path in ("/api/v1/secrets", "/api/v1/namespaces/kserve/secrets"):
            with pytest.raises(ApiError) as refused:
                reader.call("GET", path)
            assert (refused.value.status, refused.value.reason) == (403, "Forbidden")
        with pytest.raises(ApiError) as refused:
            reader.call(
                "PATCH", f"/apis/{KSERVE}/namespaces/chat/inferenceservices/assistant", {"metadata": {}}
            )
        assert refused.value.reason == "Forbidden"


def test_writer_patches_models_and_deletes_nothing(lab: ControlPlane) -> None:
    path = f"/apis/{KSERVE}/namespaces/chat/inferenceservices/assistant"
    with lab.client("writer") as writer:
        assert writer.call("PATCH", path, {"metadata": {"labels": {"seen": "yes"}}}, dryRun="All")
        with pytest.raises(ApiError) as refused:
            writer.call("DELETE", path)
        assert refused.value.reason == "Forbidden"


def test_nobody_is_forbidden(lab: ControlPlane) -> None:
    with lab.client("nobody") as nobody:
        for path in ("/api/v1/nodes", "/api/v1/pods", f"/apis/{KSERVE}/inferenceservices"):
            assert nobody.request("GET", path).status_code == 403


def test_stranger_is_not_let_in(lab: ControlPlane) -> None:
    trusted = ssl.create_default_context(cadata=lab.ca)
    with httpx.Client(
        verify=trusted, headers={"Authorization": "Bearer guessed"}, trust_env=False
    ) as stranger:
        assert stranger.get(f"{lab.url}/api/v1/nodes").status_code == 401


def test_kserves_webhook_refuses_what_makes_no_sense(lab: ControlPlane) -> None:
    isvc = lab.admin.get(KSERVE, "InferenceService", "assistant", "chat")
    wrong = {"spec": {"predictor": {"minReplicas": 3, "maxReplicas": 1}}}
    with pytest.raises(ApiError, match=r"admission webhook .* denied the request"):
        lab.admin.call("PATCH", lab.admin.path_of(isvc), wrong, dryRun="All")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_reads_it(lab: ControlPlane) -> None:
    argv = ["kubectl", "--kubeconfig", str(lab.kubeconfig_of("reader")), "get", "nodes", "-o", "name"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
    assert "node/h100-0" in said
