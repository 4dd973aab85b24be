"""Where the number of GPUs of one engine is set, and the changes that give it another."""

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.placement import gpus_of
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot

TENSOR = "tensor-parallel-size"


def edit_tensor_parallel(cluster: Snapshot, server: Server, size: int, why: str) -> Change | None:
    """The change of a server's tensor parallelism: the field of an LLMInferenceService, else the flag."""
    owner = cluster.object_at(cluster.owner_of(server.pod))
    root = cluster.pod_spec_path(server.pod, owner) if owner else None
    if owner and root and owner.kind == "LLMInferenceService":
        path = f"{root.rsplit('.', 1)[0]}.parallelism.tensor"
        if (before := owner.count(path)) is not None:
            return Change(target=owner.ref, edits=(Edit(path=path, before=before, after=size),), why=why)
    return cluster.edit_flag(server, TENSOR, str(size), why)


def edit_gpus(cluster: Snapshot, server: Server, count: int, why: str) -> Change | None:
    """The change of the GPUs a server's container asks for; limit and request, where both are there."""
    asked, container = gpus_of(server.pod.spec), server.container
    if len(asked) != 1:
        return None
    resource = next(iter(asked))
    values = {f'limits["{resource}"]': str(count)}
    if resource in container.resources.requests:
        values[f'requests["{resource}"]'] = str(count)
    return cluster.edit_each(server.pod, container.name, "resources", values, why)


def most_gpus(cluster: Snapshot, server: Server) -> int:
    """The most GPUs of the kind a server asks for that one node it may run on holds."""
    resource = next(iter(gpus_of(server.pod.spec)), "")
    nodes = cluster.eligible(server.pod.spec)
    return max((cluster.allocatable_gpus(node).get(resource, 0) for node in nodes), default=0)
