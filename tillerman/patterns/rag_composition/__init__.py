"""RAG Composition: orchestrator, model, vector database and ingestion, each on the primitive that suits it.

What it is for LLMs
An answer from documents is made by four parts that fail apart: the orchestrator asks the database and then
the model, ingestion fills the database. They must agree in names that none of them checks: the embedding
model and its dimension, the collection, the addresses. When they do not, nothing crashes and answers get
worse.

When to apply
Every service that retrieves before it generates.

When not
Documents that fit the context need no database; a prefix cache is enough.

How it is checked
The kinds of the four parts; where the database keeps its data; embedding models and dimensions of those who
write and those who ask; Jobs that fill it and failed; services that answer with errors of another part.

Sources
Documentation of Qdrant, Milvus and Weaviate; KServe and llm-d guides. Checked 2026-11-23.

Category
emerging
"""
