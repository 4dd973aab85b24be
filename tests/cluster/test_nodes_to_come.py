"""The questions about nodes on their way, GPU nodes, autoscalers and pods that are not there."""

import pytest

from tests.cluster.written import snapshot
from tillerman.cluster.model import Ref
from tillerman.cluster.quantity import counted

POD = """
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: llm}
spec: {containers: [{name: m, resources: {limits: {nvidia.com/gpu: "1"}}}]}
status: {phase: Pending, conditions: [{type: PodScheduled, status: "False"}]}
---
"""


def event(reason: str, at: str) -> str:
    return f"""
apiVersion: v1
kind: Event
metadata: {{name: {reason.lower()}, namespace: llm}}
involvedObject: {{kind: Pod, namespace: llm, name: a}}
reason: {reason}
lastTimestamp: "2026-11-20T{at}Z"
---
"""


SAID = [
    ("nothing", "", False),
    ("a node is added", event("TriggeredScaleUp", "11:55:00"), True),
    ("Karpenter makes one", event("Nominated", "11:55:00"), True),
    ("one was to be added long ago", event("TriggeredScaleUp", "10:00:00"), False),
    (
        "it was refused since",
        event("TriggeredScaleUp", "11:55:00") + event("NotTriggerScaleUp", "11:58:00"),
        False,
    ),
]


@pytest.mark.parametrize(("name", "events", "coming"), SAID, ids=[said[0] for said in SAID])
def test_node_that_an_autoscaler_adds(name: str, events: str, coming: bool) -> None:
    cluster = snapshot(POD + events)
    assert cluster.node_coming(cluster.pods[0]) is coming


@pytest.mark.parametrize(("created", "coming"), [("11:50", True), ("08:00", False)])
def test_gpu_node_that_has_just_joined_is_coming(created: str, coming: bool) -> None:
    cluster = snapshot(f"""{POD}
apiVersion: v1
kind: Node
metadata: {{name: n, creationTimestamp: "2026-11-20T{created}:00Z"}}
spec: {{taints: [{{key: nvidia.com/gpu, effect: NoSchedule}}]}}
""")
    assert cluster.node_coming(cluster.pods[0]) is coming


NODES = [
    ("labels: {cloud.google.com/gke-accelerator: nvidia-l4}", True),
    ("labels: {feature.node.kubernetes.io/pci-0302_10de.present: 'true'}", True),
    ("labels: {nvidia.com/gpu.present: 'false'}", False),
    ("labels: {node.kubernetes.io/instance-type: g6e.12xlarge}", True),
    ("labels: {node.kubernetes.io/instance-type: k3s}", False),
    ("labels: {}", False),
]


@pytest.mark.parametrize(("labels", "gpu"), NODES)
def test_node_looks_like_a_gpu_node(labels: str, gpu: bool) -> None:
    cluster = snapshot(f"""
apiVersion: v1
kind: Node
metadata: {{name: known, labels: {{node.kubernetes.io/instance-type: g6e.12xlarge}}}}
status: {{capacity: {{nvidia.com/gpu: "4"}}}}
---
apiVersion: v1
kind: Node
metadata: {{name: old, labels: {{node.kubernetes.io/instance-type: k3s}}}}
status: {{capacity: {{nvidia.com/gpu: "1"}}}}
---
apiVersion: v1
kind: Node
metadata: {{name: n, {labels}}}
""")
    assert cluster.looks_like_gpu(cluster.nodes[2]) is gpu


def test_scalers_of_an_object_are_those_of_its_workloads() -> None:
    cluster = snapshot("""
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: chat, namespace: llm}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: chat-predictor
  namespace: llm
  ownerReferences:
  - {apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, name: chat, controller: true}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: chat-predictor, namespace: llm}
spec: {scaleTargetRef: {kind: Deployment, name: chat-predictor}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: other, namespace: llm}
spec: {scaleTargetRef: {name: other}}
""")
    owner = Ref("serving.kserve.io/v1beta1", "InferenceService", "llm", "chat")
    assert [scaler.name for scaler in cluster.scalers_of(owner)] == ["chat-predictor"]


def test_pod_that_is_not_there_belongs_to_its_workload() -> None:
    cluster = snapshot("""
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: rag}
spec: {template: {metadata: {labels: {app: db}}, spec: {containers: [{name: m}]}}}
""")
    pod = cluster.pod_from(cluster.all("StatefulSet")[0])
    assert pod is not None
    assert (pod.namespace, pod.labels, cluster.owner_of(pod).name) == ("rag", {"app": "db"}, "db")
    assert [counted(1, "node"), counted(3, "node")] == ["1 node", "3 nodes"]
