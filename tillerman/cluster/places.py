"""Where in the object a person changes a container's fields live, and how an edit there reaches the pods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tillerman.cluster.change import ABSENT, Change, Edit, path_of, put_at, segments
from tillerman.cluster.model import Pod
from tillerman.cluster.objects import TEMPLATE_PATHS, Object
from tillerman.cluster.placement import Placement

STORAGE_INITIALIZER = "storage-initializer"


@dataclass(frozen=True, kw_only=True)
class Place:
    """An owner object, the path of the pod spec in it, and the path of one container.

    `exists` is False when the owner says nothing about that container yet (a preset or a runtime does).
    """

    target: Object
    pod: str
    container: str
    exists: bool = True


class Places(Placement):
    """From a container of a pod to the fields a person would edit."""

    def place_of(self, pod: Pod, container: str) -> Place | None:
        """Where to edit a container, or None when its owner was not read or is of a kind we cannot edit."""
        owner = self.object_at(self.owner_of(pod))
        root = self.pod_spec_path(pod, owner) if owner else None
        place = _container_place(owner, root, pod, container) if owner and root else None
        named = place is not None and place.exists and place.container.endswith("]")
        if container != STORAGE_INITIALIZER or named:
            return place
        found = self._storage_container(pod)  # KServe adds it to the pod, its owner says nothing of it
        return Place(target=found, pod="spec", container="spec.container") if found else None

    def pod_spec_path(self, pod: Pod, target: Object) -> str | None:
        """The path of the pod spec in an owner object, or None when it holds none for this pod."""
        if target.kind == "InferenceService":
            component = pod.labels.get("component", "predictor")
            return f"spec.{component if component in ('transformer', 'explainer') else 'predictor'}"
        if target.kind == "LLMInferenceService":
            return _llm_path(pod)
        paths = TEMPLATE_PATHS.get(target.kind)
        if not paths:
            return None
        leader = pod.labels.get("leaderworkerset.sigs.k8s.io/worker-index") == "0"
        path = paths[1] if leader and len(paths) > 1 and target.value(paths[1]) is not ABSENT else paths[0]
        return f"{path}.spec"

    def edit(self, pod: Pod, container: str, field: str, after: Any, why: str) -> Change | None:
        """The change of one field of a container (`livenessProbe.timeoutSeconds`).

        Made where a person would make it.
        """
        place = self.place_of(pod, container)
        if place is None:
            return None
        if not place.exists:
            return _first_mention(place, container, field, after, why)
        path, value = _inherited(pod, container, place, field, after)
        edit = Edit(path=path, before=place.target.value(path), after=value)
        return Change(target=place.target.ref, edits=(edit,), why=why)

    def edit_each(
        self, pod: Pod, container: str, block: str, values: Mapping[str, Any], why: str
    ) -> Change | None:
        """The change of several fields of one block of a container (`livenessProbe`, `resources`)."""
        place = self.place_of(pod, container)
        if place is None:
            return None
        path = f"{place.container}.{block}"
        if place.exists and (place.target.value(path) is not ABSENT or not block.endswith("Probe")):
            fields = {f"{path}.{field}".replace(".[", "["): after for field, after in values.items()}
            edits = tuple(
                Edit(path=p, before=place.target.value(p), after=after) for p, after in fields.items()
            )
            return Change(target=place.target.ref, edits=edits, why=why)
        first = next(iter(values))
        whole = (
            _inherited(pod, container, place, f"{block}.{first}", values[first])[1] if place.exists else {}
        )
        for field, after in values.items():
            put_at(whole, field, after)
        if not place.exists:
            return _first_mention(place, container, block, whole, why)
        return Change(target=place.target.ref, edits=(Edit(path=path, before=ABSENT, after=whole),), why=why)

    def edit_pod(self, pod: Pod, field: str, after: Any, why: str) -> Change | None:
        """The change of one field of the pod spec (`tolerations`), made where a person would make it."""
        place = self.place_of(pod, pod.spec.containers[0].name) if pod.spec.containers else None
        if place is None:
            return None
        path = f"{place.pod}.{field}"
        edit = Edit(path=path, before=place.target.value(path), after=after)
        return Change(target=place.target.ref, edits=(edit,), why=why)

    def _storage_container(self, pod: Pod) -> Object | None:
        """The ClusterStorageContainer that gave a pod its storage initializer."""
        if pod.container(STORAGE_INITIALIZER) is None:
            return None
        found = self.all("ClusterStorageContainer")
        return next((item for item in found if item.name == "default"), found[0] if len(found) == 1 else None)


def _llm_path(pod: Pod) -> str:
    component = pod.labels.get("app.kubernetes.io/component", "")
    role = pod.labels.get("llm-d.ai/role", "")
    if "router-scheduler" in component:
        return "spec.router.scheduler.template"
    block = "spec.prefill" if "prefill" in component or role == "prefill" else "spec"
    return f"{block}.worker" if component.endswith("worker") else f"{block}.template"


def _container_place(target: Object, root: str, pod: Pod, container: str) -> Place:
    for listing in ("containers", "initContainers"):
        for at, item in enumerate(target.items(f"{root}.{listing}")):
            if isinstance(item, dict) and item.get("name") == container:
                return Place(target=target, pod=root, container=f"{root}.{listing}[{at}]")
    if target.kind == "InferenceService" and target.value(f"{root}.model") is not ABSENT:
        return Place(target=target, pod=root, container=f"{root}.model")
    listing = "containers" if any(c.name == container for c in pod.spec.containers) else "initContainers"
    at = len(target.items(f"{root}.{listing}"))
    return Place(target=target, pod=root, container=f"{root}.{listing}[{at}]", exists=False)


def _first_mention(place: Place, container: str, field: str, after: Any, why: str) -> Change:
    """The owner names the container for the first time: a preset keeps the rest of it."""
    listing = place.container.rsplit("[", 1)[0]
    before = place.target.value(listing)
    entry: dict[str, Any] = {"name": container}
    put_at(entry, field, after)
    after_list = [*(before if isinstance(before, list) else []), entry]
    edit = Edit(path=listing, before=before, after=after_list)
    return Change(target=place.target.ref, edits=(edit,), why=why)


def _inherited(pod: Pod, container: str, place: Place, field: str, after: Any) -> tuple[str, Any]:
    """The path to edit, and the value.

    A probe the owner does not name yet is written whole, with what the pod has.
    """
    head, _, rest = field.partition(".")
    path = f"{place.container}.{head}"
    if not rest or place.target.value(path) is not ABSENT or not head.endswith("Probe"):
        return f"{place.container}.{field}", after
    found = pod.container(container)
    names = {
        "startupProbe": "startup_probe",
        "livenessProbe": "liveness_probe",
        "readinessProbe": "readiness_probe",
    }
    probe = getattr(found, names[head], None) if found else None
    whole = probe_manifest(probe) if probe else {}
    whole[rest] = after
    return path, whole


def probe_manifest(probe: Any) -> dict[str, Any]:
    """A probe as a manifest would say it."""
    built: Mapping[str, Any] = msgspec.to_builtins(probe)
    return {key: value for key, value in built.items() if value is not None}


def relative(path: str, root: str) -> str | None:
    """The part of a path below a root, or None when it lies elsewhere."""
    inner, outer = segments(path), segments(root)
    return path_of(inner[len(outer) :]) if inner[: len(outer)] == outer and len(inner) > len(outer) else None
