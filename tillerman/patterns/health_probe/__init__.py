"""Health Probe: a model server is killed only when it is broken, and gets traffic only when it has loaded.

What it is for LLMs
A server opens its port only after minutes of staging, weight loading, compilation and graph capture, and
answers its health endpoint from the same loop that tokenises prompts. Probes made for web servers kill it
while it loads, and again when it is busy. So: a startup probe whose budget covers at least twice the
measured start, a liveness probe that only begins after it and survives load, a readiness probe on a path
that is true only once the model is loaded.

When to apply
Every container that runs an inference engine: vLLM, SGLang, TGI, TensorRT-LLM; the sidecars and endpoint
pickers too.

When not
A batch Job needs no probes. A proxy that starts in a second needs no startup probe.

How it is checked
Startup budget (initialDelaySeconds + failureThreshold x periodSeconds) against phases measured from the
log; liveness timeoutSeconds and failureThreshold against the load at which probes failed; readiness path
and port against the engine's.

Sources
Kubernetes documentation, "Configure Liveness, Readiness and Startup Probes"; KServe 0.20 presets (startup
60 x 10 s); vllm-project/vllm#17386, kserve/kserve#5062, scaleapi/llm-engine#255. Checked 2026-11-23.

Category
foundational
"""
