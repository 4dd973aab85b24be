"""Predictable Demands: a model server asks for the memory that its model takes, on the GPU and beside it.

What it is for LLMs
The demands of a model are known before it starts: weights from its files, KV cache from its length and
layers, pinned buffers and loaders from its flags, shared memory from its GPUs. A number that is too small
shows minutes later, after a full load, and again after every restart. So: GPU memory, host memory, disk and
/dev/shm computed, with a margin.

When to apply
Every server, at every change of model, GPU, context length, parallelism or offloading.

When not
A server that measured its own limits on this very GPU (`--max-model-len auto`) needs no computed length.

How it is checked
Sizes that the engine printed before it failed, against the flags and limits it has now; where no log was
seen, only what arithmetic on names, flags and node labels proves.

Sources
vLLM documentation, "Conserving memory"; KAITO 0.12 and llm-d planner (estimates); KServe 0.20 default
resources. Checked 2026-11-23.

Category
foundational
"""
