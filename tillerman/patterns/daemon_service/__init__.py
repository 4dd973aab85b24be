"""Daemon Service: the daemons that make a machine's GPUs exist for Kubernetes run on every GPU node.

What it is for LLMs
A GPU becomes a schedulable resource only through a chain of daemons: NFD labels the hardware, driver and
toolkit let containers use it, the device plugin registers it with the kubelet, GFD describes it, the DCGM
exporter measures it; a DRA driver replaces parts of this. One broken link on one node and its GPUs are gone
for the scheduler, while the node stays Ready.

When to apply
Every cluster with GPU nodes: one chain, one chart or operator, tolerations for the GPU taint on each of its
DaemonSets.

When not
Nodes without GPUs need no part of it but NFD; do not run two device plugins on one node.

How it is checked
For each node with a GPU in its labels or capacity: allocatable equals capacity, labels are there, and the
pod of each part runs.

Sources
NVIDIA GPU operator 26.7, k8s-device-plugin 0.20, NFD 0.19, DCGM exporter 4.8; NVIDIA/k8s-device-plugin#58,
#234, #585; NVIDIA/gpu-operator#149, #423. Checked 2026-11-23.

Category
behavioral
"""
