"""What a service meant when it named its model wrongly, and the edit that says so."""

import re
from dataclasses import dataclass
from typing import Any

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.model import Pod
from tillerman.cluster.objects import Object
from tillerman.cluster.places import STORAGE_INITIALIZER
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.downloads import uri_of, uri_path
from tillerman.patterns.init_container.uris import (
    better_path,
    better_uri,
    claims_of,
    misspelled,
    nearest,
    paths_on,
    words_of,
)
from tillerman.patterns.init_container.wrong_uris import Missing

#: A folder that every user may write, unless the root file system is read-only.
WRITABLE = "/tmp"  # noqa: S108 - a value for a container, nothing is written there
#: Where the hub's libraries keep models unless told otherwise, below the home folder.
_DEFAULT_CACHE = "/root/.cache/huggingface"


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What was meant, why we think so, and the change."""

    meant: str
    because: str
    change: Change


def repair(cluster: Snapshot, one: Missing) -> Repair | None:
    """The repair of a service that names its model wrongly; None where it cannot be told."""
    if one.kind in ("form", "scheme", "schema", "repository"):
        return _of_uri(cluster, one)
    if one.kind in ("claim", "claim-path", "subpath") and one.pod:
        return _of_claim(cluster, one, one.pod)
    if one.kind in ("path", "weights") and one.pod:
        return _of_path(cluster, one, one.pod)
    if one.kind in ("cache", "offline") and one.pod:
        return _of_cache(cluster, one, one.pod)
    return None


def _of_uri(cluster: Snapshot, one: Missing) -> Repair | None:
    owner = cluster.object_at(one.owner)
    uri = (uri_of(cluster, one.pod) if one.pod else "") or one.sought
    if one.kind == "repository":
        name = uri.removeprefix("hf://").partition(":")[0]
        near = misspelled(cluster, name)
        meant = uri.replace(name, near) if near else None
        because = f"others of the cluster use {near}"
    else:
        meant = better_uri(cluster, uri, owner.text("spec.model.name") if owner else "")
        because = "the form follows from what is there, and objects of the cluster name the rest"
    if meant is None:
        return None
    return _renamed(cluster, one, uri, meant, because)


def _renamed(cluster: Snapshot, one: Missing, old: str, new: str, because: str) -> Repair | None:
    """The repair that replaces a URI or a path where the owner says it."""
    owner = cluster.object_at(one.owner)
    path = uri_path(owner) if owner else None
    change = None
    if owner and path and owner.text(path) == old:
        change = _change(owner, path, new, because)
    elif one.pod:
        change = _word_changed(cluster, one, one.pod, (old, new), because)
    return Repair(meant=f"`{new}`", because=because, change=change) if change else None


def _change(owner: Object, path: str, after: Any, why: str) -> Change:
    return Change(target=owner.ref, edits=(Edit(path=path, before=owner.value(path), after=after),), why=why)


def _word_changed(
    cluster: Snapshot, one: Missing, pod: Pod, words: tuple[str, str], why: str
) -> Change | None:
    """The change of one word in a container's command, where the owner holds it."""
    place = cluster.place_of(pod, one.container)
    old, new = words
    for field in ("args", "command") if place else ():
        for at, text in enumerate(place.target.items(f"{place.container}.{field}") if place else ()):
            found = re.search(rf"(?<![\w./-]){re.escape(old)}(?![\w./-])", str(text))
            if found:
                after = str(text)[: found.start()] + new + str(text)[found.end() :]
                return cluster.edit(pod, one.container, f"{field}[{at}]", after, why)
    return None


def _of_claim(cluster: Snapshot, one: Missing, pod: Pod) -> Repair | None:
    """Another claim, or another folder of it."""
    uri = uri_of(cluster, pod)
    claim, _, folder = uri.removeprefix("pvc://").partition("/") if uri.startswith("pvc://") else ("", "", "")
    if one.kind == "claim":
        names = [item.name for item in cluster.all("PersistentVolumeClaim", pod.namespace)]
        near = nearest(one.sought, names)
        because = f"`{near}` is the one claim of the namespace with nearly that name"
        if near and claim == one.sought:
            return _renamed(cluster, one, uri, f"pvc://{near}" + (f"/{folder}" if folder else ""), because)
        return _mounted(cluster, one, pod, near, because) if near else None
    known = paths_on(cluster, pod.namespace, claim) if claim else set()
    better = better_path(folder, known)
    if better is None:
        return None
    return _renamed(cluster, one, uri, f"pvc://{claim}/{better}", f"others of the claim name `{better}`")


def _mounted(cluster: Snapshot, one: Missing, pod: Pod, claim: str, because: str) -> Repair | None:
    place = cluster.place_of(pod, pod.spec.containers[0].name) if pod.spec.containers else None
    for at, volume in enumerate(place.target.items(f"{place.pod}.volumes") if place else ()):
        named = (volume.get("persistentVolumeClaim") or {}) if isinstance(volume, dict) else {}
        if named.get("claimName") == one.sought:
            field = f"volumes[{at}].persistentVolumeClaim.claimName"
            change = cluster.edit_pod(pod, field, claim, because)
            return Repair(meant=f"`{claim}`", because=because, change=change) if change else None
    return None


def _of_path(cluster: Snapshot, one: Missing, pod: Pod) -> Repair | None:
    """The folder that others name on the same volume, as the path of a server's own command."""
    container = pod.container(one.container)
    sought = one.sought.removesuffix("/config.json")
    if container is None or sought not in words_of(container):
        return None
    for mount in container.volume_mounts:
        root = mount.mount_path.rstrip("/")
        inside = sought.removeprefix(f"{root}/") if sought.startswith(f"{root}/") else sought
        claim = claims_of(pod).get(mount.name)
        known = paths_on(cluster, pod.namespace, claim) if claim else _filled(pod, mount.name)
        below = {p.removeprefix(f"{mount.sub_path}/") for p in known if p.startswith(mount.sub_path)}
        better = better_path(inside, below - {inside})
        if better:
            because = f"others of the volume `{claim or mount.name}` name the folder `{better}`"
            return _renamed(cluster, one, sought, f"{root}/{better}", because)
    return None


def _filled(pod: Pod, volume: str) -> set[str]:
    """The folders that the pod's init containers fill on a volume of its own."""
    found = set()
    for container in pod.spec.init_containers:
        for mount in (m for m in container.volume_mounts if m.name == volume):
            root = mount.mount_path.rstrip("/") + "/"
            found |= {w.removeprefix(root) for w in words_of(container) if w.startswith(root)}
    return found


def _of_cache(cluster: Snapshot, one: Missing, pod: Pod) -> Repair | None:
    """A home that can be written; for an offline server, the one volume that can hold its cache."""
    container = pod.container(one.container)
    if container is None or container.name == STORAGE_INITIALIZER:
        return None
    if one.kind == "cache":
        inside_home = one.sought.startswith("/.")
        name, value = ("HOME", WRITABLE) if inside_home else ("HF_HOME", f"{WRITABLE}/hf")
        because = f"{WRITABLE} can be written by any user, `{one.sought}` cannot"
    else:
        lasting = [m for m in container.volume_mounts if m.name in claims_of(pod)]
        home = cluster.env_of(pod, container).get("HF_HOME", _DEFAULT_CACHE)
        if len(lasting) != 1 or home.startswith(lasting[0].mount_path):
            return None
        name, value = "HF_HOME", lasting[0].mount_path
        because = f"the cache is looked for in {home}, the only volume that lasts is mounted at {value}"
    change = _variable(cluster, one, pod, {"name": name, "value": value}, because)
    return Repair(meant=f"`{name}={value}`", because=because, change=change) if change else None


def _variable(cluster: Snapshot, one: Missing, pod: Pod, entry: dict[str, str], why: str) -> Change | None:
    """The change that sets a variable, in place of the value that the owner gives it now."""
    place = cluster.place_of(pod, one.container)
    if place is None or not place.exists:
        return cluster.edit(pod, one.container, "env", [entry], why) if place else None
    listed = place.target.items(f"{place.container}.env")
    for at, have in enumerate(listed):
        if isinstance(have, dict) and have.get("name") == entry["name"]:
            if have.get("value", ABSENT) == entry["value"]:
                return None
            return cluster.edit(pod, one.container, f"env[{at}].value", entry["value"], why)
    return cluster.edit(pod, one.container, f"env[{len(listed)}]", entry, why)
