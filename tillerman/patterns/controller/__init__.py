"""Controller: one object says what is wanted, and a controller keeps the rest as it should be.

What it is for LLMs
KServe turns an InferenceService or an LLMInferenceService into Deployments, Services, routes and
autoscalers: a runtime gives the container, a webhook completes the pods, quotas and limits decide whether
they may exist. When one of these says no, there is no pod to look at, and the cause stands in a status or an
event only.

When to apply
Everything that serves: change the object on top (InferenceService, runtime, preset), never its children, and
name the runtime rather than have it chosen.

When not
A plain Deployment is simpler where one server needs none of staging, runtimes, routes or scaling.

How it is checked
The runtime selection is computed again from the runtimes that exist; quotas from what is used; webhooks from
the messages of the API server and the state of what serves them.

Sources
KServe 0.20 controllers and webhooks; Kubernetes 1.37 ResourceQuota and LimitRange admission. Checked
2026-11-23.

Category
advanced
"""
