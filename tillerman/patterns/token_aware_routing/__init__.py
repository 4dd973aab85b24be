"""Token-Aware Routing: a request goes to the replica that has its prefix and room for it, not to the next.

What it is for LLMs
One request may cost a thousand times another, and a replica that has seen its prompt before answers it for
a fraction. Round robin, and clients that keep connections open, fill one replica while others idle. An
endpoint picker (EPP) behind an InferencePool reads each replica's queue, KV cache and prefixes and chooses;
the gateway only has to ask it.

When to apply
Several replicas of one model, above all with long prompts, shared prefixes or prefill and decode apart.

When not
One replica, or batch clients that hold their own queue.

How it is checked
Each pool's labels and ports against the pods it is meant for, its picker's pods, permissions and arguments,
the routes that lead to it and their status; queues of replicas against each other in two scrapes.

Sources
Gateway API Inference Extension 1.5 and 1.6, troubleshooting guide; llm-d router 0.10; KServe 0.20
LLMInferenceService. Checked 2026-11-23.

Category
emerging
"""
