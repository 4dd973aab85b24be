"""Stateless Service: any replica of a model can answer any request, and may be replaced at any moment.

What it is for LLMs
A model server holds no data but its cache: what makes an answer is in the request, the weights come from
elsewhere. So replicas are alike, stand behind one name, and are added, moved and updated freely. What they
cache (prefixes, compiled graphs) makes them faster, and its loss must cost time only.

When to apply
Model servers, embedders, rerankers, gateways and routers.

When not
Vector databases and session stores: those are Stateful Services. An engine over several nodes is one replica
made of several pods that live and die together: a LeaderWorkerSet.

How it is checked
Replicas that serve against replicas that are wanted; names and ports of Services against the pods behind
them; names of models that clients ask for against those that are served.

Sources
Kubernetes documentation, "Service", "Deployments"; KServe 0.20; llm-d 0.10 guides. Checked 2026-11-23.

Category
behavioral
"""
