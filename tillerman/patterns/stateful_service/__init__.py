"""Stateful Service: what must survive a pod has a volume and a name of its own.

What it is for LLMs
A vector database is the memory of a RAG service: on a pod's own disk it is gone with the next node upgrade,
and every answer is worse until the documents are embedded again. A group of pods that run one engine over
several nodes has state of another kind: each pod has a rank, and one that fails takes the others with it.

When to apply
Vector databases, caches that are expensive to fill, session stores; LeaderWorkerSet groups.

When not
Weights are no state of a server: stage them (Model Data Staging).

How it is checked
Databases on volumes that outlive a pod, with claims that are bound and not full; replicas of a set that wait
for a volume that another node holds; ranks of a group that are all there.

Sources
Kubernetes documentation, "StatefulSets", "Persistent Volumes"; LeaderWorkerSet 0.10; documentation of Qdrant,
Milvus and Weaviate. Checked 2026-11-23.

Category
behavioral
"""
