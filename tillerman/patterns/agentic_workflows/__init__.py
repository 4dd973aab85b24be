"""Agentic Workflows: agents and their tools as workloads whose sessions, formats and permissions hold.

What it is for LLMs
An agent is a loop around a model that calls tools: MCP servers, other agents over A2A. It works only where
the server parses the model's tool calls, where a session meets the server that holds it, where timeouts are
longer than a step, and where a tool can do no more than the agent's user may.

When to apply
Agents, MCP servers and gateways for models that run in a cluster.

When not
A fixed sequence of steps is a program: it needs no model to choose the next one.

How it is checked
Tool-call parsers against the model; sessions of MCP servers against their replicas and affinity; endpoints
of tools that are ready; what their service accounts may do.

Sources
Model Context Protocol and A2A 1.0 specifications; vLLM 0.32 tool calling. Checked 2026-11-23.

Category
emerging
"""
