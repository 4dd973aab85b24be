"""Batch Job: work that ends runs as a Job that may be tried again, with a limit and a deadline.

What it is for LLMs
Ingestion, re-embedding, prefetching of weights and evaluations run for hours against services that are busy,
scaled down or restarted meanwhile. So: small idempotent steps, a back-off limit and a deadline that fit them,
`concurrencyPolicy: Forbid` on a schedule, a queue (Kueue) where GPUs are shared, and requests that say what
is needed.

When to apply
Everything that has an end: ingestion, prefetch, evaluation, fine-tuning, index maintenance.

When not
What answers requests. A step that must precede one pod's start is an init container.

How it is checked
Jobs that failed for good, with the first error of their last pod, against the Jobs that did the same work
since; what they wait for: tolerations, quota, volumes, the services they call.

Sources
Kubernetes documentation, "Jobs" and "CronJob"; Kueue 0.19. Checked 2026-11-24.

Category
behavioral
"""
