"""Containers that set no limits or requests where a quota wants them, and the change that sets them."""

import re
from dataclasses import dataclass

import msgspec

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.model import Container, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.places import STORAGE_INITIALIZER
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.controller.refusals import Refusal

_UNSET = re.compile(r"failed quota: ([\w.-]+): must specify (.+)$")
#: What a helper container gets that says nothing about itself: enough for sidecars and proxies.
HELPER = {"cpu": "500m", "memory": "512Mi"}
#: What a model server or the download of a model gets at least, when it says nothing: a person sizes it then.
SERVER = {"cpu": "4", "memory": "32Gi"}
_LARGE = ("kserve-container", STORAGE_INITIALIZER, "main", "vllm", "server")


@dataclass(frozen=True, kw_only=True)
class Unset:
    """A quota, and what containers must set for it: resource fields (`limits.memory`) by container."""

    quota: str
    fields: dict[str, tuple[str, ...]]

    def __str__(self) -> str:
        said = (f"{', '.join(f'`{f}`' for f in fields)} for `{name}`" for name, fields in self.fields.items())
        return "; ".join(said) + f" (quota `{self.quota}`)"


def unset_in(cluster: Snapshot, refusal: Refusal) -> Unset | None:
    """What a refused pod must specify and does not, as far as its template still lacks it."""
    found = _UNSET.search(refusal.message)
    if not found or refusal.owner.key in cluster.whatif:
        return None
    fields: dict[str, tuple[str, ...]] = {}
    for part in found[2].split(";"):
        names, _, containers = part.partition(" for: ")
        for container in _containers(cluster, refusal, containers):
            lacks = [name.strip() for name in names.split(",") if _lacks(container, name.strip())]
            if lacks:
                fields[container.name] = (*fields.get(container.name, ()), *lacks)
    return Unset(quota=found[1], fields=fields) if fields else None


def set_limits(cluster: Snapshot, refusal: Refusal, unset: Unset) -> list[Change]:
    """What each container lacks, taken from its other half (request or limit), else a usual size."""
    pod, why = cluster.pod_from(refusal.workload), f"the quota `{unset.quota}` wants them set"
    changes = []
    for name, fields in unset.fields.items():
        container, shared = pod.container(name) if pod else None, _shared(cluster, name)
        if pod and container:
            values = {field: _value(container, field) for field in fields}
            change = cluster.edit_each(pod, name, "resources", values, why)
            changes += [change] if change else []
        elif shared:
            paths = {f"spec.container.resources.{field}": _value(_of(shared), field) for field in fields}
            edits = tuple(Edit(path=p, before=shared.value(p), after=value) for p, value in paths.items())
            changes.append(Change(target=shared.ref, edits=edits, why=why))
    return changes


def blamed(cluster: Snapshot, refusal: Refusal, unset: Unset) -> Ref:
    """Who sets these limits: the storage container where only the download lacks them, else the owner."""
    shared = [_shared(cluster, name) for name in unset.fields]
    return shared[0].ref if len(shared) == 1 and shared[0] else refusal.owner


def _shared(cluster: Snapshot, container: str) -> Object | None:
    """The object that gives every pod its storage initializer."""
    found = cluster.all("ClusterStorageContainer") if container == STORAGE_INITIALIZER else ()
    return next((item for item in found if item.name == "default"), found[0] if len(found) == 1 else None)


def _of(shared: Object) -> Container:
    found = msgspec.convert(shared.table("spec.container"), Container, strict=False)
    return msgspec.structs.replace(found, name=STORAGE_INITIALIZER)


def _containers(cluster: Snapshot, refusal: Refusal, named: str) -> list[Container]:
    """The containers a message names, injected ones too; all of the template when it names none."""
    template, shared = refusal.workload.template, _shared(cluster, STORAGE_INITIALIZER)
    listed = [*template.spec.init_containers, *template.spec.containers] if template else []
    names = [name.strip() for name in named.split(",") if name.strip()]
    known = {container.name: container for container in listed}
    if shared and STORAGE_INITIALIZER not in known:
        known[STORAGE_INITIALIZER] = _of(shared)
    return [known.get(name, Container(name=name)) for name in names] if names else listed


def _lacks(container: Container, field: str) -> bool:
    kind, _, resource = field.partition(".")
    resources = container.resources
    have = resources.limits if kind == "limits" else resources.requests | resources.limits
    return resource not in have


def _value(container: Container, field: str) -> str:
    resource = field.partition(".")[2]
    other = {**container.resources.limits, **container.resources.requests}.get(resource)
    usual = SERVER if container.name in _LARGE else HELPER
    return str(other) if other is not None else usual.get(resource, "1")
