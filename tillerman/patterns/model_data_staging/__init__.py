"""Model Data Staging: weights and images are where the server starts, before it starts, and stay there.

What it is for LLMs
A model is tens to hundreds of gigabytes, an image ten more. Fetched at each start, by each replica, from the
internet into the node's own disk, they make starts slow, run into rate limits, fill disks until pods are
evicted, and fail with the hub. So: fetch once, keep near the GPU (LocalModelCache, a volume that many
nodes may read, an OCI image volume), know how much disk it takes and say so in requests and limits.

When to apply
Every model server, and most of all those that scale.

When not
A model of a few hundred megabytes that starts once a month.

How it is checked
What the kubelet says of evictions, volumes and images, against requests, limits, access modes and rollout
strategies; download errors in logs; images by the names that their projects use now.

Sources
KServe documentation, "Model caching"; Kubernetes documentation, "Node-pressure Eviction", "Persistent
Volumes" and "Images"; llm-d release notes 0.8; kserve/kserve#3409, #4575, #6137. Checked 2026-11-24.

Category
emerging
"""
