"""Batch Job: ingestion, prefetch and evaluation run to completion, apart from serving, and may be retried.

What it is for LLMs
Documents are embedded, weights are staged and models are judged by work that ends. It needs the same GPUs,
tokens and stores as the servers, at other hours, and it fails half-way: so it is a Job with a bounded number
of tries and a deadline, safe to run twice, with the same embedding model as those who will ask.

When to apply
Everything that ends: ingestion, index builds, download of weights before a rollout, evaluation suites.

When not
A consumer of a queue that never ends is a Deployment.

How it is checked
Jobs that used up their tries and what the last one said; schedules that forbid or pile up runs; tolerations
and requests of Jobs that must run on GPU nodes; Kueue's gates and quotas, which are waits and no failures.

Sources
Kubernetes documentation, "Jobs", "CronJob"; Kueue 0.19; vllm-project/aibrix#909. Checked 2026-11-23.

Category
behavioral
"""
