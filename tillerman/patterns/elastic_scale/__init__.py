"""Elastic Scale: replicas follow what makes requests wait, within the GPUs there are, and start in time.

What it is for LLMs
A server's queue and its KV cache are what runs out; CPU, and even GPU use, say little. A replica costs whole
GPUs and takes minutes to start, so the signal must lead, the window must be longer than a start, and the
ceiling must be what the cluster can place. A metric that no longer exists is zero to KEDA: nothing scales,
and nothing complains.

When to apply
Every service whose load varies by more than one replica's worth; scale to zero only where a component holds
the requests meanwhile and clients wait longer than a cold start.

When not
A steady load, or a model of which one replica is all the GPUs there are: set replicas and watch the queue.

How it is checked
Each autoscaler's metrics against the series that its servers really expose, its thresholds, its maximum
against the GPUs that its pods may use, and all of it against the queue in two scrapes.

Sources
llm-d autoscaling guides; KEDA 2.20 and HPA documentation; KServe 0.20 autoscaling; vLLM 0.32 metrics;
Workload Variant Autoscaler 0.7 thresholds. Checked 2026-11-23.

Category
advanced
"""
