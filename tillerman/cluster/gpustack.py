"""The GPU daemon stack: which DaemonSets and Deployments turn a machine with GPUs into a node with GPUs."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import msgspec

from tillerman.cluster.model import Node, OwnerReference, Pod
from tillerman.cluster.objects import Object
from tillerman.cluster.placement import gpus_of
from tillerman.cluster.servers import Servers

Role = Literal[
    "driver",
    "toolkit",
    "device-plugin",
    "gpu-feature-discovery",
    "nfd-worker",
    "nfd-master",
    "dcgm-exporter",
    "validator",
    "mig-manager",
    "dra-driver",
    "gpu-operator",
]

#: How each part is recognised in a workload's name or its images: GPU operator, plain charts, GKE, AKS, EKS,
#: OpenShift.
#: First match wins. Source: the charts' and operators' published names (GPU operator 26.7, NFD 0.19, device
#: plugin 0.20).
_ROLES: tuple[tuple[Role, str], ...] = (
    ("dcgm-exporter", r"dcgm-exporter"),
    ("gpu-feature-discovery", r"gpu-feature-discovery|\bgfd\b"),
    ("validator", r"operator-validator|cuda-validator"),
    ("mig-manager", r"mig-manager"),
    ("dra-driver", r"dra-driver|dra-kubelet-plugin"),
    ("toolkit", r"container-toolkit"),
    ("device-plugin", r"device-plugin|nvdp"),
    ("driver", r"nvidia-driver|driver-daemonset|driver-installer"),
    ("nfd-worker", r"nfd-worker|node-feature-discovery-worker"),
    ("nfd-master", r"nfd-master|node-feature-discovery-master"),
    ("gpu-operator", r"^gpu-operator$"),
)


MACHINE_TYPE = "node.kubernetes.io/instance-type"
#: Label and taint keys that only nodes with GPUs have. Sources: NFD 0.19, GPU operator 26.7, GKE, EKS, AKS.
_GPU_SIGN = re.compile(
    r"^(?:nvidia|amd)\.com/gpu(?:\.present|\.count|\.product)?$|^nvidia\.com/gpu\.deploy\.|/pci-(?:\w+_)?10de\.present$"
    r"|/gke-accelerator$|/instance-gpu-count$|^k8s\.amazonaws\.com/accelerator$|^kubernetes\.azure\.com/accelerator$"
)


#: A GPU node from the cloud is there within this time, its driver and device plugin included; longer means
#: that it did not come. Source: GPU operator documentation ("about 10 minutes") after a machine's own start.
NODE_START_S = 1200

#: Event reasons of cluster-autoscaler and Karpenter for a pod that gets a new node.
_SCALES_UP = ("TriggeredScaleUp", "Nominated")


class GpuStack(Servers):
    """Questions about the GPU daemon stack."""

    def looks_like_gpu(self, node: Node) -> bool:
        """Whether anything says that a node has GPUs: capacity, labels, taints, machines of its type."""
        return node.name in self._gpu_looking

    @cached_property
    def _gpu_looking(self) -> frozenset[str]:
        return frozenset(node.name for node in self.nodes if self._looks_like_gpu(node))

    def _looks_like_gpu(self, node: Node) -> bool:
        if self.gpus_in(node) or any(_GPU_SIGN.search(taint.key) for taint in node.spec.taints):
            return True
        if any(_GPU_SIGN.search(key) and value != "false" for key, value in node.labels.items()):
            return True
        return node.labels.get(MACHINE_TYPE, "") in self._gpu_machines

    @cached_property
    def _gpu_machines(self) -> frozenset[str]:
        """The cloud machine types of nodes with GPUs (on bare metal the label says `k3s` or the like)."""
        types = {node.labels.get(MACHINE_TYPE, "") for node in self.gpu_nodes}
        return frozenset(name for name in types if re.search(r"\d.*[._-]|[._-].*\d", name))

    def node_coming(self, pod: Pod) -> bool:
        """Whether a node for a pod is on its way.

        An autoscaler lately said that it adds one and has not said no since, or a GPU node has just joined.
        """
        said = self.events_about(pod.ref, *_SCALES_UP, "NotTriggerScaleUp", "FailedScaleUp")
        if said and said[-1].reason in _SCALES_UP and (self.age_s(said[-1].last_seen) or 0.0) <= NODE_START_S:
            return True
        return bool(gpus_of(pod.spec)) and any(self._joining(node) for node in self.nodes)

    def _joining(self, node: Node) -> bool:
        """Whether a GPU node is new and offers no GPU yet."""
        new = 0 < self.standing_s(node) <= NODE_START_S
        return new and self.looks_like_gpu(node) and not any(self.allocatable_gpus(node).values())

    def stack(self, role: Role) -> tuple[Object, ...]:
        """The DaemonSets or Deployments that play a part of the stack.

        Several where several charts are installed.
        """
        return self._stack.get(role, ())

    def stack_pod_on(self, role: Role, node: Node) -> Pod | None:
        """The pod of a part of the stack on a node; None when there is none."""
        return next((pod for pod in self.pods_on(node.name) if self._roles.get(pod.ref.key) == role), None)

    @cached_property
    def _stack(self) -> Mapping[Role, tuple[Object, ...]]:
        found: dict[Role, list[Object]] = {}
        for kind in ("DaemonSet", "Deployment"):
            for workload in self.all(kind):
                role = _role_of(workload)
                if role:
                    found.setdefault(role, []).append(workload)
        return {role: tuple(workloads) for role, workloads in found.items()}

    @cached_property
    def _roles(self) -> Mapping[tuple[str, str, str], Role]:
        found = ((role, w) for role, workloads in self._stack.items() for w in workloads)
        return {pod.ref.key: role for role, workload in found for pod in self.pods_of(workload.ref)}

    def pod_from(self, workload: Object) -> Pod | None:
        """A pod as the workload's template would make it: for questions about pods that are not there."""
        template = workload.template
        if template is None:
            return None
        owner = OwnerReference(
            api_version=workload.ref.api_version, kind=workload.kind, name=workload.name, controller=True
        )
        name, space = f"{workload.name}-?", workload.namespace
        metadata = msgspec.structs.replace(
            template.metadata, name=name, namespace=space, owner_references=(owner,)
        )
        return Pod(kind="Pod", metadata=metadata, spec=template.spec)


def _role_of(workload: Object) -> Role | None:
    template = workload.template
    images = [c.image for c in template.spec.containers] if template else []
    for text in (workload.name, *images):
        for role, pattern in _ROLES:
            if re.search(pattern, text):
                return role
    return None
