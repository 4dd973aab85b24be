"""Init Container: what a server needs is fetched and checked before it starts, by a step that may fail alone.

What it is for LLMs
A server without its weights is nothing. A step of its own brings them: KServe's storage initializer, or an
init container that somebody wrote. It has its own memory limit, its own environment and its own credentials,
none of them the server's. So: memory for the way the downloader works, not for a web page; the token and the
keys in the step that uses them; a URI that was tried once; a failure that says which of these it was.

When to apply
Weights come from a hub, a bucket or a volume and are copied for each pod; a volume has to be prepared.

When not
The weights are in an image volume, in a local cache or on a shared volume that is mounted as it is: then
nothing has to be fetched at start.

How it is checked
How the step last ended, and its first error; its memory limit and where that comes from
(ClusterStorageContainer, `inferenceservice-config`, the owner); which of its environment holds a credential,
against the environment of the server beside it and of others in the namespace; the URI against its scheme's
form and the claims that exist.

Sources
Kubernetes documentation, "Init Containers"; KServe 0.20 storage containers and `storage_errors.py`;
kserve/kserve#4400, #5162, #5326, #5412, #6024. Checked 2026-11-24.

Category
structural
"""
