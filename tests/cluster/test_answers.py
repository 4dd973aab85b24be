"""The questions of a snapshot, asked of small clusters written as manifests."""

import pytest
import ryaml

from tests.cluster.written import NOW, snapshot
from tillerman.cluster.change import ABSENT
from tillerman.cluster.life import trouble_of
from tillerman.cluster.model import Taint
from tillerman.cluster.parse import parsed
from tillerman.cluster.placement import gpus_of, requests_of, tolerates, unmatched
from tillerman.cluster.podspec import PodSpec, Toleration


def spec(text: str) -> PodSpec:
    return (
        parsed([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": ryaml.loads(text)}])
        .pods[0]
        .spec
    )


def owned(kind: str, name: str) -> str:
    return f"ownerReferences: [{{apiVersion: v1, kind: {kind}, name: {name}, uid: u, controller: true}}]"


ENDED = "lastState: {terminated: {exitCode: 137, finishedAt: '%s'}}"
STATUSES = [
    ("runs", "ready: true, state: {running: {}}", None),
    (
        "restarted days ago",
        f"ready: true, restartCount: 4, state: {{running: {{}}}}, {ENDED % '2026-11-17T10:00:00Z'}",
        None,
    ),
    (
        "restarts again and again",
        f"ready: true, restartCount: 4, state: {{running: {{}}}}, {ENDED % '2026-11-20T11:50:00Z'}",
        "restarting",
    ),
    (
        "restarted once just now",
        f"ready: true, restartCount: 1, state: {{running: {{}}}}, {ENDED % '2026-11-20T11:50:00Z'}",
        None,
    ),
    (
        "has not come up since it ended",
        f"restartCount: 4, started: false, state: {{running: {{}}}}, {ENDED % '2026-11-17T10:00:00Z'}",
        "crash-looping",
    ),
    ("loads", "ready: false, started: false, state: {running: {}}", "starting"),
    ("started, not ready", "ready: false, started: true, state: {running: {}}", "not-ready"),
    ("crash-loops", "restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}", "crash-looping"),
    ("image", "state: {waiting: {reason: ImagePullBackOff}}", "image"),
    ("config", "state: {waiting: {reason: CreateContainerConfigError}}", "config"),
    ("being created", "state: {waiting: {reason: ContainerCreating}}", "creating"),
]


@pytest.mark.parametrize(("name", "status", "kind"), STATUSES, ids=[s[0] for s in STATUSES])
def test_trouble_of_a_container(name: str, status: str, kind: str | None) -> None:
    cluster = snapshot(f"""
apiVersion: v1
kind: Pod
metadata: {{name: a}}
spec: {{nodeName: n, containers: [{{name: m}}]}}
status: {{phase: Running, containerStatuses: [{{name: m, {status}}}]}}
""")
    found = trouble_of(cluster.pods[0], NOW)
    assert (found.kind if found else None) == kind, name


UNSCHEDULED = "phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: %s}]"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (UNSCHEDULED % "Unschedulable", "unschedulable"),
        (UNSCHEDULED % "SchedulingGated", "gated"),
        ("phase: Failed, reason: Evicted", "evicted"),
        ("phase: Failed, reason: UnexpectedAdmissionError", "rejected"),
        ("phase: Failed", "failed"),
        ("phase: Succeeded", None),
    ],
)
def test_trouble_of_a_pod_without_containers(status: str, kind: str | None) -> None:
    cluster = snapshot(
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{}}, status: {{{status}}}}}"
    )
    found = trouble_of(cluster.pods[0], NOW)
    assert (found.kind if found else None) == kind


def test_requests_add_containers_and_sidecars_and_cover_the_largest_init() -> None:
    found = spec("""
        containers:
        - {name: a, resources: {requests: {cpu: 500m, nvidia.com/gpu: "2"}, limits: {nvidia.com/gpu: "2"}}}
        - {name: b, resources: {limits: {cpu: "1", nvidia.com/gpu: 1}}}
        initContainers:
        - {name: side, restartPolicy: Always, resources: {requests: {cpu: 250m}}}
        - {name: fetch, resources: {requests: {cpu: "8"}}}
    """)
    assert requests_of(found) == {"cpu": 8.25, "nvidia.com/gpu": 3}
    assert gpus_of(found) == {"nvidia.com/gpu": 3}


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        (Toleration(key="nvidia.com/gpu", operator="Exists"), True),
        (Toleration(key="nvidia.com/gpu", value="present"), True),
        (Toleration(key="nvidia.com/gpu", value="other"), False),
        (Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoExecute"), False),
        (Toleration(operator="Exists"), True),
    ],
)
def test_toleration_covers_a_taint_as_the_scheduler_says(toleration: Toleration, covers: bool) -> None:
    assert (
        tolerates([toleration], Taint(key="nvidia.com/gpu", value="present", effect="NoSchedule")) is covers
    )


def test_required_affinity_is_judged_with_its_alternatives_and_operators() -> None:
    found = spec("""
        containers: []
        affinity:
          nodeAffinity:
            requiredDuringSchedulingIgnoredDuringExecution:
              nodeSelectorTerms:
              - matchExpressions: [{key: nvidia.com/gpu.memory, operator: Gt, values: ["40000"]}]
              - matchExpressions:
                - {key: pool, operator: In, values: [big]}
                - {key: old, operator: DoesNotExist}
    """)
    assert unmatched(found, {"nvidia.com/gpu.memory": "81559"}) == ()
    assert unmatched(found, {"pool": "big"}) == ()
    assert unmatched(found, {"pool": "big", "old": "yes"}) == ("nvidia.com/gpu.memory", "old")


CHAIN = f"""
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: llama, namespace: chat}}
spec:
  predictor:
    model:
      args: [--max-model-len=8192]
      resources: {{limits: {{memory: 16Gi}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: llama-predictor, namespace: chat, {owned("InferenceService", "llama")}}}
spec: {{replicas: 1, template: {{spec: {{containers: [{{name: kserve-container}}]}}}}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {{name: llama-predictor-1, namespace: chat, {owned("Deployment", "llama-predictor")}}}
spec: {{template: {{spec: {{containers: [{{name: kserve-container}}]}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: llama-predictor-1-a, namespace: chat, {owned("ReplicaSet", "llama-predictor-1")}}}
spec:
  containers:
  - name: kserve-container
    image: vllm/vllm-openai:v0.32.0
    args: [--model=/mnt/models, --port=8080, --max-model-len=8192]
    resources: {{limits: {{memory: 16Gi}}, requests: {{memory: 16Gi}}}}
    startupProbe:
      {{httpGet: {{path: /health, port: 8080}}, failureThreshold: 12, periodSeconds: 10, timeoutSeconds: 10}}
status: {{phase: Running}}
"""


def test_owner_is_what_a_person_would_change() -> None:
    cluster = snapshot(CHAIN)
    pod = cluster.pods[0]
    assert [str(ref) for ref in cluster.owners_of(pod)] == [
        "ReplicaSet/chat/llama-predictor-1",
        "Deployment/chat/llama-predictor",
        "InferenceService/chat/llama",
    ]
    workload = cluster.workload_of(pod)
    assert workload is not None
    assert str(workload.ref) == "Deployment/chat/llama-predictor"
    assert cluster.pods_of(cluster.owner_of(pod)) == (pod,)


def test_owner_that_was_not_read_is_named_all_the_same() -> None:
    cluster = snapshot("\n---\n".join(CHAIN.split("\n---\n")[1:]))
    assert str(cluster.owner_of(cluster.pods[0])) == "InferenceService/chat/llama"
    assert cluster.edit(cluster.pods[0], "kserve-container", "image", "x", "why") is None


def test_leader_pods_worker_set_belongs_to_the_leader_worker_set() -> None:
    cluster = snapshot(f"""
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {{name: big, namespace: chat}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: big, namespace: chat, {owned("LeaderWorkerSet", "big")}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: big-0, namespace: chat, {owned("StatefulSet", "big")}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: big-0, namespace: chat, {owned("Pod", "big-0")}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: big-0-1, namespace: chat, {owned("StatefulSet", "big-0")}}}
""")
    assert {str(cluster.owner_of(pod)) for pod in cluster.pods} == {"LeaderWorkerSet/chat/big"}


def test_static_pod_of_a_node_is_its_own_owner() -> None:
    metadata = f"{{name: etcd-n, namespace: kube-system, {owned('Node', 'n')}}}"
    cluster = snapshot(f"apiVersion: v1\nkind: Pod\nmetadata: {metadata}\n")
    assert str(cluster.owner_of(cluster.pods[0])) == "Pod/kube-system/etcd-n"


def test_edit_goes_to_the_inference_service_and_whatif_reaches_the_pod() -> None:
    cluster = snapshot(CHAIN)
    pod = cluster.pods[0]
    change = cluster.edit(pod, "kserve-container", "startupProbe.failureThreshold", 60, "why")
    assert change is not None
    (edit,) = change.edits
    assert (str(change.target), edit.path, edit.before) == (
        "InferenceService/chat/llama",
        "spec.predictor.model.startupProbe",
        ABSENT,
    )
    probe = cluster.with_changes([change]).pods[0].spec.containers[0].startup_probe
    assert probe is not None
    assert (probe.failure_threshold, probe.timeout_seconds, probe.budget_s) == (60, 10, 600)
    assert pod.spec.containers[0].startup_probe is not None
    assert pod.spec.containers[0].startup_probe.failure_threshold == 12


def test_flag_is_edited_in_the_services_arguments_and_the_runtimes_stay() -> None:
    cluster = snapshot(CHAIN)
    server = cluster.servers[0]
    assert (server.engine, server.number("max-model-len"), server.tensor_parallel) == ("vllm", 8192, 1)
    change = cluster.edit_flag(server, "max-model-len", "4096", "why")
    assert change is not None
    assert [(e.path, e.before, e.after) for e in change.edits] == [
        ("spec.predictor.model.args", ["--max-model-len=8192"], ["--max-model-len=4096"])
    ]
    after = cluster.with_changes([change])
    assert after.pods[0].spec.containers[0].args == (
        "--model=/mnt/models",
        "--port=8080",
        "--max-model-len=4096",
    )
    assert after.whatif >= {("InferenceService", "chat", "llama"), ("Pod", "chat", "llama-predictor-1-a")}


def test_flag_from_a_config_map_is_edited_there() -> None:
    cluster = snapshot("""
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: chat}
data: {MAX_LEN: "32768"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: llama, namespace: chat}
spec: {template: {spec: {containers: [{name: vllm, args: [--max-model-len=$(MAX_LEN)]}]}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: llama-a
  namespace: chat
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: llama, controller: true}]
spec:
  containers:
  - name: vllm
    image: vllm/vllm-openai:v0.32.0
    args: [--max-model-len=$(MAX_LEN)]
    env: [{name: MAX_LEN, valueFrom: {configMapKeyRef: {name: settings, key: MAX_LEN}}}]
""")
    server = cluster.servers[0]
    assert server.number("max-model-len") == 32768
    change = cluster.edit_flag(server, "max-model-len", "8192", "why")
    assert change is not None
    assert (str(change.target), change.edits[0].path, change.edits[0].after) == (
        "ConfigMap/chat/settings",
        "data.MAX_LEN",
        "8192",
    )
    assert cluster.with_changes([change]).servers[0].number("max-model-len") == 8192


def test_llm_service_gets_its_first_mention_of_a_container_and_extra_flags_by_variable() -> None:
    cluster = snapshot("""
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {name: big, namespace: chat}
spec: {model: {uri: "hf://Qwen/Qwen3-32B"}, replicas: 1}
---
apiVersion: v1
kind: Pod
metadata:
  name: big-kserve-0
  namespace: chat
  labels:
    app.kubernetes.io/name: big
    app.kubernetes.io/part-of: llminferenceservice
    app.kubernetes.io/component: llminferenceservice-workload
spec:
  containers:
  - name: main
    image: ghcr.io/llm-d/llm-d-cuda:v0.5
    command: [/bin/bash, -c, "eval \\"vllm serve /mnt/models --port 8000 ${VLLM_ADDITIONAL_ARGS}\\""]
    startupProbe: {httpGet: {path: /health, port: 8000}, failureThreshold: 60, periodSeconds: 10}
""")
    pod = cluster.pods[0]
    change = cluster.edit(pod, "main", "startupProbe.failureThreshold", 120, "why")
    assert change is not None
    assert (change.edits[0].path, change.edits[0].before) == ("spec.template.containers", ABSENT)
    probe = cluster.with_changes([change]).pods[0].spec.containers[0].startup_probe
    assert probe is not None
    assert (probe.failure_threshold, probe.period_seconds) == (120, 10)
    flagged = cluster.edit_flag(cluster.servers[0], "max-model-len", "8192", "why")
    assert flagged is not None
    assert cluster.with_changes([flagged]).servers[0].number("max-model-len") == 8192
