"""Stateful Service: what has to be remembered lies on a volume of its own, at the place where it is written.

What it is for LLMs
A vector database is the memory of a RAG service; a LeaderWorkerSet group is one server with an identity. The
pods of both are not alike: each has its own name, its own part of the data. So: a StatefulSet (or the
database's operator) with a claim for each pod, mounted at the folder that the image really writes to, with
snapshots; never a Deployment on the node's disk, which forgets everything when its pod moves.

When to apply
Vector databases, registries, message stores; multi-node engines as LeaderWorkerSet.

When not
A model server: its weights are a copy, its KV cache may be lost. A cache that fills itself again.

How it is checked
The folder that each known database writes to, by its image and settings, against what is mounted there; how
old its pod is against its workload; collections counted in its series, and clients that miss them.

Sources
Kubernetes documentation, "StatefulSets"; documentation of Qdrant, Milvus, Weaviate, Chroma, pgvector;
qdrant/qdrant#3445, zilliztech/milvus-helm#156, chroma-core/chroma#6132. Checked 2026-11-24.

Category
behavioral
"""
