"""Automated Placement: the scheduler finds a node for every model server: what it asks for is there.

What it is for LLMs
A pod of a model server asks for whole GPUs of one node, often several at once, of one product, behind taints
that keep other work away. Free GPUs on different nodes do not add up; a label with another suffix matches
nothing; a helper pod without a GPU request gets no automatic toleration. Placement rules say what is needed
(memory, compute capability, count), not a brand.

When to apply
Every workload that needs GPUs or must run beside them: servers, prefetch Jobs, cache agents, storage
helpers.

When not
Do not pin `nodeName`: it skips the scheduler, and the kubelet then refuses the pod when devices are short.

How it is checked
Each node's obstacles for the pod (cordon, taints, labels, each resource), computed as the scheduler's
default plugins do, and held against the scheduler's own message.

Sources
Kubernetes documentation, "Assigning Pods to Nodes", "Taints and Tolerations"; kube-scheduler 1.37;
volcano-sh/volcano#3948, NVIDIA/k8s-device-plugin#734. Checked 2026-11-23.

Category
foundational
"""
