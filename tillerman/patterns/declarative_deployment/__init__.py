"""Declarative Deployment: a new version replaces the old one by itself, with the GPUs that are there.

What it is for LLMs
A rollout starts the new pod before it stops the old one. For a web service that costs a little memory for a
minute; for a model server it needs a second set of GPUs, on a node that has them free together. Where there
is none, the old pod waits for the new one to be ready and the new one waits for the old one's GPUs.

When to apply
Every model server: say per server whether a spare set of GPUs exists. With one, surge (no gap in service);
without, let one pod be unavailable (`maxSurge: 0, maxUnavailable: 1`, or `Recreate` for a single replica).

When not
StatefulSets and LeaderWorkerSets stop the old pod first by default. Two versions that are meant to serve
side by side (canary) need GPUs for both; that is capacity, not strategy.

How it is checked
For each rollout whose new pod is Pending: would it fit if the older pods of the same Deployment were gone,
and does the strategy, with its percentages rounded as the controller rounds them, ever let one go?

Sources
Kubernetes documentation, "Deployments"; deployment controller 1.37; kserve/kserve#1601, #4188, #4855.
Checked 2026-11-23.

Category
foundational
"""
