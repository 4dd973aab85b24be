"""A cluster at one instant, immutable, with every question that faults ask of it.

The questions stand in storeys, each a class in its own file: `Index` (look-ups), `Owners`, `Observations`
(events, logs, series, trouble), `Placement` (GPUs and nodes), `Places` (fields a person would edit),
`Servers` (engines and flags), `GpuStack` (the daemons behind a GPU).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec

from tillerman.cluster.change import ABSENT, Change, Edit, path_of, put_at, segments, value_at
from tillerman.cluster.commandline import with_flag
from tillerman.cluster.gpustack import GpuStack
from tillerman.cluster.model import Pod
from tillerman.cluster.objects import Object
from tillerman.cluster.parse import parsed
from tillerman.cluster.places import STORAGE_INITIALIZER, relative


class Snapshot(GpuStack):
    """A cluster at one instant. Made by an adapter, or by `with_changes`."""

    def with_changes(self, changes: Iterable[Change]) -> "Snapshot":
        """The what-if: this snapshot with the changes made, and rolled out to the pods of what they change.

        What was observed (events, logs, restarts, series) stays as history: a fault must be gone because the
        new configuration holds against it, not because the past was forgotten.

        Raises: UsageError when a change does not fit its object.
        """
        objects = {item.ref.key: item for item in self.objects}
        pods = {(pod.namespace, pod.name): pod for pod in self.pods}
        changed = set(self.whatif)
        for change in changes:
            target = objects[change.target.key]
            for pod in self._reached_by(target):
                key = (pod.namespace, pod.name)
                edited = self._rolled_out(pods[key], target, change)
                changed |= {key_ for key_ in self._owner_keys(pod) if edited is not pods[key]}
                pods[key] = edited
            objects[change.target.key] = parsed([change.apply(target.raw)]).objects[0]
            changed.add(change.target.key)
        return replace(
            self, objects=tuple(objects.values()), pods=tuple(pods.values()), whatif=frozenset(changed)
        )

    def _owner_keys(self, pod: Pod) -> set[tuple[str, str, str]]:
        return {pod.ref.key, *(ref.key for ref in self.owners_of(pod))}

    def _reached_by(self, target: Object) -> tuple[Pod, ...]:
        """The pods that a change of an object reaches through its template."""
        if target.kind == "ClusterStorageContainer":
            return tuple(pod for pod in self.pods if pod.container(STORAGE_INITIALIZER))
        return self.pods_of(target.ref)

    def _rolled_out(self, pod: Pod, target: Object, change: Change) -> Pod:
        """The pod as its controller would make it after the change.

        The same pod when the change does not reach it.
        """
        text = msgspec.json.encode(pod.spec)
        raw: dict[str, Any] = msgspec.json.decode(text)
        before = msgspec.json.decode(text)
        root = self.pod_spec_path(pod, target)
        for edit in change.edits:
            if root and edit.path == f"{root.rsplit('.', 1)[0]}.parallelism.tensor":
                _rewrite_flag(raw, "tensor-parallel-size", str(edit.after))
            else:
                self._roll_out_edit(pod, target, edit, raw)
        if raw == before:
            return pod
        return msgspec.structs.replace(pod, spec=msgspec.convert(raw, type(pod.spec), strict=False))

    def _roll_out_edit(self, pod: Pod, target: Object, edit: Edit, raw: dict[str, Any]) -> None:
        for listing in ("containers", "initContainers"):
            for container in raw.get(listing) or ():
                place = self.place_of(pod, container["name"])
                if place is None or place.target.ref != target.ref:
                    continue
                inner = relative(edit.path, place.container) if place.exists else None
                if inner and container["name"] in (
                    _model_container(target, pod),
                    place_name(target, place.container),
                ):
                    _merge_field(
                        container, _translated(target.value(place.container), container, inner), edit
                    )
                    return
        root = self.pod_spec_path(pod, target)
        field = relative(edit.path, root) if root else None
        if field in ("containers", "initContainers") and isinstance(edit.after, list):
            for entry in edit.after:
                for container in raw.get(str(field)) or ():
                    if isinstance(entry, dict) and container["name"] == entry.get("name"):
                        _merge_into(container, entry)
        elif root and field and not field.startswith("model"):
            _merge_field(raw, _translated(target.value(root), raw, field), edit)


def _rewrite_flag(raw: dict[str, Any], name: str, value: str) -> None:
    """Gives a flag another value in a pod whose preset writes it from a field of its owner."""
    for container in raw.get("containers") or ():
        for field in ("command", "args"):
            changed = with_flag(container.get(field) or [], name, value)
            if changed:
                container[field] = changed


def _model_container(target: Object, pod: Pod) -> str:
    """The container that an InferenceService's `model` block describes."""
    if target.kind != "InferenceService":
        return STORAGE_INITIALIZER if target.kind == "ClusterStorageContainer" else ""
    names = [c.name for c in pod.spec.containers]
    return "kserve-container" if "kserve-container" in names else names[0]


def place_name(target: Object, path: str) -> str:
    """The name of the container that stands at a path of an owner."""
    found = target.value(f"{path}.name")
    return found if isinstance(found, str) else ""


def _translated(owner: Any, pod: Any, field: str) -> str:
    """The same field in the pod, whose lists may be longer than the owner's: entries are found by name."""
    parts: list[str | int] = []
    for part in segments(field):
        at = part
        if isinstance(part, int) and isinstance(owner, list) and isinstance(pod, list) and part < len(owner):
            name = owner[part].get("name") if isinstance(owner[part], dict) else None
            same = (i for i, item in enumerate(pod) if isinstance(item, dict) and item.get("name") == name)
            at = next(same, part) if name else part
        owner, pod = _inside(owner, part), _inside(pod, at)
        parts.append(at)
    return path_of(parts)


def _inside(value: Any, part: str | int) -> Any:
    if isinstance(part, int):
        return value[part] if isinstance(value, list) and part < len(value) else None
    return value.get(part) if isinstance(value, dict) else None


def _merge_field(raw: dict[str, Any], field: str, edit: Edit) -> None:
    """Makes an owner's edit in a pod.

    The owner's value may be only a part of the pod's: KServe appends arguments, admission adds volumes.
    """
    if edit.before is ABSENT and isinstance(segments(field)[-1], int):
        field = _end_of(raw, field)
    have = value_at(raw, field)
    after = edit.after
    if (
        isinstance(have, list)
        and isinstance(after, list)
        and all(isinstance(x, str) for x in (*have, *after))
    ):
        old = edit.before if isinstance(edit.before, list) else []
        kept = have[: len(have) - len(old)] if not old or have[-len(old) :] == old else []
        after = [*kept, *after]
    elif isinstance(have, dict) and isinstance(after, dict):
        after = {**have, **after}
    elif isinstance(have, list) and isinstance(after, list):
        after = _merged_list(have, edit.before if isinstance(edit.before, list) else [], after)
    put_at(raw, field, after)


def _end_of(raw: dict[str, Any], field: str) -> str:
    """The place behind the last entry of a list: a pod's may be longer than its owner's."""
    listing = field[: field.rindex("[")]
    have = value_at(raw, listing)
    return f"{listing}[{len(have) if isinstance(have, list) else 0}]"


def _merged_list(have: list[Any], before: list[Any], after: list[Any]) -> list[Any]:
    """A pod's list with the owner's old entries replaced by its new ones; what admission added stays."""
    kept = [item for item in have if item not in before and item not in after]
    names = {item.get("name") for item in after if isinstance(item, dict) and item.get("name")}
    return [*after, *(item for item in kept if not (isinstance(item, dict) and item.get("name") in names))]


def _merge_into(container: dict[str, Any], entry: dict[str, Any]) -> None:
    """A strategic merge of one container: maps merge, named lists merge by name, the rest is replaced."""
    for key, value in entry.items():
        have = container.get(key)
        if isinstance(have, dict) and isinstance(value, dict):
            container[key] = {**have, **value}
        elif isinstance(have, list) and isinstance(value, list):
            container[key] = (
                _merged_list(have, [], value) if key in ("env", "volumeMounts", "ports") else value
            )
        else:
            container[key] = value
