"""Agentic Workflows: agents and their tools are services, and a conversation with one of them has a place.

What it is for LLMs
An agent calls tools over MCP and other agents over A2A, many times for one answer. A session that was opened
in one replica is known only there; a model that writes tool calls needs the parser that reads them; a tool
that acts on the cluster needs rights and no more. So: servers without sessions where the protocol allows it,
else requests of one session to one replica; the parser named beside the model; an account for each tool.

When to apply
MCP servers, A2A agents, gateways of tools, and the model servers behind them.

When not
A chat without tools.

How it is checked
Services of MCP servers with several replicas, their session affinity and routes, against lost sessions in
their logs and in those of their clients.

Sources
Model Context Protocol 2025-11-25, "Streamable HTTP" and sessions; python-sdk 1.x, typescript-sdk 1.x;
modelcontextprotocol/python-sdk#1180, agentic-community/mcp-gateway-registry#960. Checked 2026-11-24.

Category
emerging
"""
