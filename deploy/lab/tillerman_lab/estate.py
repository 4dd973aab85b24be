"""A small estate: GPU nodes labelled as NFD and GFD do, NVIDIA's DaemonSets, a few models, some ill."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ryaml

from .addresses import NODE_NETWORK
from .client import Client
from .places import MANIFESTS

Object = dict[str, Any]
DRIVER, CUDA = "580.82.07", "13.0"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A sort of node: how many, what is in it, and what GFD calls its GPUs. Memory of a GPU in MiB."""

    name: str
    count: int
    instance: str
    cpu: int
    memory: str
    gpus: int = 0
    product: str = ""
    gpu_memory: int = 0
    family: str = ""
    compute: str = "0.0"
    cordoned: tuple[int, ...] = ()


MACHINES = (
    Machine(name="cpu", count=2, instance="m7i.4xlarge", cpu=16, memory="64Gi"),
    Machine(
        name="h100",
        count=2,
        instance="p5.48xlarge",
        cpu=192,
        memory="2000Gi",
        gpus=8,
        product="NVIDIA-H100-80GB-HBM3",
        gpu_memory=81559,
        family="hopper",
        compute="9.0",
    ),
    Machine(
        name="a100",
        count=2,
        instance="a2-ultragpu-4g",
        cpu=48,
        memory="680Gi",
        gpus=4,
        product="NVIDIA-A100-SXM4-80GB",
        gpu_memory=81920,
        family="ampere",
        compute="8.0",
    ),
    Machine(
        name="l4",
        count=4,
        instance="g6.8xlarge",
        cpu=32,
        memory="128Gi",
        gpus=1,
        product="NVIDIA-L4",
        gpu_memory=23034,
        family="ada-lovelace",
        compute="8.9",
        cordoned=(3,),
    ),
    Machine(
        name="t4",
        count=2,
        instance="g4dn.4xlarge",
        cpu=16,
        memory="64Gi",
        gpus=1,
        product="Tesla-T4",
        gpu_memory=15360,
        family="turing",
        compute="7.5",
    ),
)


def create(client: Client) -> None:
    """Create the whole estate: nodes first, so that the models find them."""
    for node in nodes():
        client.ensure(node)
    for name in ("daemons.yaml", "estate.yaml"):
        for each in ryaml.loads_all((MANIFESTS / name).read_text()):
            client.ensure(each)


def nodes() -> list[Object]:
    """All nodes."""
    each = ((machine, index) for machine in MACHINES for index in range(machine.count))
    return [node(machine, index, f"{NODE_NETWORK}.{at}") for at, (machine, index) in enumerate(each, 10)]


def node(machine: Machine, index: int, address: str) -> Object:
    """One node, as it would be after its kubelet, NFD, GFD and the GPU operator have spoken."""
    name = f"{machine.name}-{index}"
    addresses = [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]
    amounts = {
        "cpu": str(machine.cpu),
        "memory": machine.memory,
        "ephemeral-storage": "500Gi",
        "pods": "110",
        **({"nvidia.com/gpu": str(machine.gpus)} if machine.gpus else {}),
    }
    taints = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}] if machine.gpus else []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": dict(_labels(machine, name, index)),
        },
        "spec": {"taints": taints, **({"unschedulable": True} if index in machine.cordoned else {})},
        "status": {
            "addresses": addresses,
            "capacity": amounts,
            "allocatable": amounts,
            "nodeInfo": _node_info(),
        },
    }


def _labels(machine: Machine, name: str, index: int) -> Iterator[tuple[str, str]]:
    yield "type", "kwok"
    yield "kubernetes.io/hostname", name
    yield "kubernetes.io/os", "linux"
    yield "kubernetes.io/arch", "amd64"
    yield "topology.kubernetes.io/region", "r1"
    yield "topology.kubernetes.io/zone", f"r1-{'ab'[index % 2]}"
    yield "node.kubernetes.io/instance-type", machine.instance
    yield "feature.node.kubernetes.io/cpu-model.vendor_id", "Intel"
    if machine.gpus:
        yield from _gpu_labels(machine)


def _gpu_labels(machine: Machine) -> Iterator[tuple[str, str]]:
    major, _, minor = machine.compute.partition(".")
    gpu, cuda = "nvidia.com/gpu", "nvidia.com/cuda"
    yield "feature.node.kubernetes.io/pci-10de.present", "true"
    yield f"{gpu}.present", "true"
    yield f"{gpu}.product", machine.product
    yield f"{gpu}.memory", str(machine.gpu_memory)
    yield f"{gpu}.family", machine.family
    yield f"{gpu}.count", str(machine.gpus)
    yield f"{gpu}.replicas", "1"
    yield f"{gpu}.sharing-strategy", "none"
    yield f"{gpu}.compute.major", major
    yield f"{gpu}.compute.minor", minor
    yield f"{cuda}.driver-version.full", DRIVER
    yield f"{cuda}.driver-version.major", DRIVER.partition(".")[0]
    yield f"{cuda}.runtime-version.full", CUDA
    yield f"{cuda}.runtime-version.major", CUDA.partition(".")[0]
    yield "nvidia.com/mig.capable", str(machine.family in ("hopper", "ampere")).lower()
    yield "nvidia.com/mig.strategy", "none"
    for part in ("device-plugin", "gpu-feature-discovery", "dcgm-exporter"):
        yield f"{gpu}.deploy.{part}", "true"


def _node_info() -> Object:
    return {
        "architecture": "amd64",
        "operatingSystem": "linux",
        "osImage": "Ubuntu 24.04.3 LTS",
        "kernelVersion": "6.8.0",
        "containerRuntimeVersion": "containerd://2.1.4",
        "kubeletVersion": "v1.37.2",
        "kubeProxyVersion": "",
        "bootID": "",
        "machineID": "",
        "systemUUID": "",
    }
