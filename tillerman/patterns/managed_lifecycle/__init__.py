"""Managed Lifecycle: a server that has to go finishes what it is writing, and never all of them go at once.

What it is for LLMs
A generation takes from seconds to minutes, a replacement as long to start. A pod that is told to stop has to
leave the load balancer first, finish its streams and exit within its grace period; a drain has to move one
replica at a time, and must be able to. Restarts that nobody ordered are a lifecycle too: what ended the
container, and how often, is the first thing to know.

When to apply
Every server that streams: a preStop wait longer than the endpoints take to update, a shutdown timeout of the
engine below the grace period, a disruption budget that allows one.

When not
A budget that allows none, or a grace period of an hour, protects nothing: it blocks drains and upgrades.

How it is checked
Grace periods and hooks against the engine's own shutdown; disruption budgets against replicas and drains that
wait; how containers ended, and whether they keep ending.

Sources
Kubernetes documentation, "Pod Lifecycle" and "Disruptions"; vLLM 0.32 `--shutdown-timeout`; KServe 0.20
presets. Checked 2026-11-23.

Category
foundational
"""
