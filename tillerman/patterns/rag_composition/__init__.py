"""RAG Composition: orchestrator, embedding, vector database and model agree on names and dimensions.

What it is for LLMs
A RAG service is four services and a Job. Each may be healthy while the whole answers nonsense: the embedding
model changed and its vectors no longer fit the collection, the registry of collections was kept in a pod that
is gone, the ingestion Job fails every night. So: each part on its own primitive, the collection named after
model and dimension, registrations outside of pods, and one retrieval counted after every change.

When to apply
Answers from documents: search, support, assistants with memory.

When not
A model that answers from its weights or from the prompt alone.

How it is checked
Refusals that databases and their clients print (dimension, unknown store), against the settings of the
workloads that print them; ingestion Jobs against the services they call.

Sources
Documentation of Qdrant, Milvus, Weaviate, pgvector and Llama Stack; RooCodeInc/Roo-Code#7348,
mem0ai/mem0#3065, ogx-ai/ogx#5209. Checked 2026-11-24.

Category
emerging
"""
