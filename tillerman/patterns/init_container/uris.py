"""Where models are, as objects of the cluster name it: a better spelling of a URI, a path, a claim."""

import difflib
import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator

from tillerman.cluster.model import Container, Pod
from tillerman.cluster.models import model_of
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.downloads import URI_PATHS, uri_of

#: Names as alike as this, with the same numbers in them, are one name mistyped: a letter or two.
ALIKE = 0.85
#: Schemes that people write, and those that KServe knows. Source: KServe 0.20 `pkg/constants`.
_SCHEMES = {
    "huggingface": "hf",
    "hugging-face": "hf",
    "hub": "hf",
    "s3a": "s3",
    "s3n": "s3",
    "gcs": "gs",
    "gsutil": "gs",
    "claim": "pvc",
}
_HUB = re.compile(
    r"^(?:hf:/*)?https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(.+)$|^hf://huggingface\.co/(.+)$"
)
_FORM = re.compile(r"^hf://[\w.-]+/[\w.-]+(?::[\w./-]+)?$")
_URI = re.compile(r"^(\w[\w+.-]*):/{0,3}(.+)$")


def normal(name: str) -> str:
    """A name without the differences that people make by mistake: case, underscores, dots at its ends."""
    return re.sub(r"[_\s]+", "-", name.strip(" ./").lower())


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one other name that this one was meant to be; None for none or several.

    The same but for case and underscores, else alike with the same numbers: `8B` is not meant to be `1B`.
    """
    others = sorted({other for other in names if other != name})
    same = [other for other in others if normal(other) == normal(name)]
    if not same:
        numbers = re.findall(r"\d+", name)
        close = difflib.get_close_matches(name, others, n=3, cutoff=ALIKE)
        same = [other for other in close if re.findall(r"\d+", other) == numbers]
    return same[0] if len(same) == 1 else None


def better_uri(cluster: Snapshot, uri: str, named: str = "") -> str | None:
    """What a URI was meant to be, as far as its form and the names in the cluster tell; None when not."""
    text = uri.strip()
    hub = _HUB.match(text)
    scheme = _URI.match(text)
    if hub:
        text = f"hf://{hub[1] or hub[2]}"
    elif scheme:
        text = f"{_SCHEMES.get(scheme[1].lower(), scheme[1].lower())}://{scheme[2]}"
    elif re.match(r"^[\w.-]+/[\w.-]+$", text):
        text = f"hf://{text}"
    if text.startswith("hf://"):
        text = _hub_form(cluster, text, named)
        return text if _FORM.match(text) and text != uri else None
    return text if "://" in text and text != uri else None


def _hub_form(cluster: Snapshot, uri: str, named: str) -> str:
    """A hub URI in its only form, `hf://owner/model[:revision]`."""
    path = uri.removeprefix("hf://").strip("/")
    path, _, revision = path.partition("/tree/")
    path, at, tag = path.partition("@")
    revision = tag if at else revision.strip("/")
    if "/" not in path:
        models = (*hub_models(cluster), *((named,) if "/" in named else ()))
        owners = {m for m in models if m.split("/")[1].lower() == path.lower()}
        path = next(iter(owners)) if len(owners) == 1 else path
    return f"hf://{path}" + (f":{revision}" if revision and revision != "main" else "")


def hub_models(cluster: Snapshot) -> tuple[str, ...]:
    """The models of the hub that objects and servers of the cluster name, `owner/model`."""
    names = {model_of(cluster, server) for server in cluster.servers}
    for kind in ("InferenceService", "LLMInferenceService", "LocalModelCache", "LocalModelNamespaceCache"):
        for item in cluster.all(kind):
            names |= {item.text("spec.model.name"), *(item.text(path) for path in URI_PATHS)}
    found = (name.removeprefix("hf://").partition(":")[0] for name in names if not name.startswith("/"))
    return tuple(sorted({name for name in found if re.match(r"^[\w.-]+/[\w.-]+$", name)}))


def misspelled(cluster: Snapshot, name: str) -> str | None:
    """The model of the hub that a name was meant to be, by what the cluster names; None for none."""
    plain = name.removeprefix("hf://").partition(":")[0]
    return nearest(plain, hub_models(cluster)) if plain else None


def claims_of(pod: Pod) -> dict[str, str]:
    """The claims that a pod mounts, by the name of its volume."""
    found = {}
    for volume in pod.spec.volumes:
        claim = volume.get("persistentVolumeClaim") or {}
        if claim.get("claimName"):
            found[str(volume.get("name"))] = str(claim["claimName"])
    return found


def paths_on(cluster: Snapshot, namespace: str, claim: str) -> set[str]:
    """The folders of a claim that objects of its namespace name: in URIs, and in commands that mount it."""
    found = set()
    for pod in cluster.pods_in(namespace):
        scheme, _, rest = uri_of(cluster, pod).partition("://")
        if scheme == "pvc" and rest.partition("/")[0] == claim:
            found.add(rest.partition("/")[2].strip("/"))
        for volume, name in claims_of(pod).items():
            if name == claim:
                found |= set(_named_below(pod, volume))
    return found - {""}


def _named_below(pod: Pod, volume: str) -> Iterator[str]:
    """The paths on a volume that containers of a pod name, relative to its root."""
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        for mount in container.volume_mounts:
            if mount.name != volume:
                continue
            root = mount.mount_path.rstrip("/") + "/"
            for word in words_of(container):
                if word.startswith(root):
                    yield posixpath.join(mount.sub_path, word.removeprefix(root)).strip("/")


def words_of(container: Container) -> tuple[str, ...]:
    """The words of a container's command, those inside scripts and after `=` too."""
    found: list[str] = []
    for text in (*container.command, *container.args):
        try:
            parts = shlex.split(text) if " " in text else [text]
        except ValueError:
            parts = text.split()
        found += [part.rpartition("=")[2] if part.startswith("-") else part for part in parts]
    return tuple(word.strip("\"'") for word in found)


def better_path(path: str, known: Iterable[str]) -> str | None:
    """The one known folder that a path was meant to be: the same name elsewhere, or the name mistyped."""
    others = sorted({one for one in known if one.strip("/") != path.strip("/")})
    last = normal(path.rstrip("/").rsplit("/", 1)[-1])
    same = [one for one in others if normal(one.rsplit("/", 1)[-1]) == last]
    return same[0] if len(same) == 1 else (nearest(path, others) if not same else None)
