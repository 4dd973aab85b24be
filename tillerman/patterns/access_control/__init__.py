"""Access Control: each part may do what it needs and nothing else, and what it needs is really granted.

What it is for LLMs
An endpoint picker reads pools and pods, a controller writes workloads, an agent's tools act on the cluster,
clients carry keys. Too little and a part fails in ways that look like something else: no endpoints, no
metrics, 401. Too much and a prompt can do what its user may not.

When to apply
Service accounts of pickers, controllers, tools and agents; network policies between gateway, servers,
metrics and hubs; keys of APIs and registries.

When not
Do not solve a refusal with cluster-admin: add the one rule that was refused.

How it is checked
What an API server refused, against roles and bindings; policies against the ports and peers that the parts
need; answers 401 and 403 in the counters of servers and gateways.

Sources
Kubernetes documentation, "Using RBAC Authorization", "Network Policies"; llm-d router 0.10 roles; MCP
security considerations. Checked 2026-11-23.

Category
security
"""
