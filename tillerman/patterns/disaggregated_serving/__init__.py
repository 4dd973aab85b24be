"""Disaggregated Serving: prefill and decode apart, alike in all that the KV cache between them needs.

What it is for LLMs
Prefill is bound by compute, decode by memory; apart, each scales by its own signal and a long prompt does not
stop the tokens of others. The price is a transfer of every prompt's KV cache between two servers, over NIXL
and RDMA. It works only where both are the same model, release and cache format, and can reach each other's
memory.

When to apply
Large models with long prompts (ten times more input than output), on nodes with RDMA between them.

When not
Short prompts, or a network of plain TCP: one server with chunked prefill is then faster and simpler.

How it is checked
Prefill and decode servers of one model against each other: release, dtype, KV type, block size, connector,
RDMA resources, UCX settings, capabilities, network policies; failed transfers that grow between two scrapes.

Sources
vLLM 0.32 NIXL connector; llm-d 0.10 P/D guide and router manifests; KServe 0.20 presets. Checked 2026-11-23.

Category
emerging
"""
