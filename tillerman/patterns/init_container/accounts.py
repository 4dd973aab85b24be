"""Credentials as far as they can be seen: names of secrets and accounts, never what is in them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.model import Container, Pod
from tillerman.cluster.objects import Object
from tillerman.cluster.places import STORAGE_INITIALIZER
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.downloads import Download

#: What the Hugging Face libraries take a token from. Source: huggingface_hub 1.x `constants.py`.
TOKEN_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "HF_API_TOKEN", "HF_TOKEN_PATH")
#: The key that KServe reads from a secret of the service account. Source: KServe 0.20 `hf_secret.go`.
KSERVE_KEY = "HF_TOKEN"


class TokenSecret(NamedTuple):
    """The key of a secret that gives some container its token, and the workload or container that uses it."""

    name: str
    key: str
    used_by: str


def holds_token(container: Container) -> bool:
    """Whether a container is given a Hugging Face token, or may be: by a variable, a flag, a whole secret."""
    words = (*container.command, *container.args)
    return (
        any(v.name in TOKEN_NAMES and (v.value or v.value_from) for v in container.env)
        or any("secretRef" in entry for entry in container.env_from)
        or any(word.startswith(("--hf-token", "--token")) for word in words)
    )


def token_secret(cluster: Snapshot, one: Download) -> TokenSecret | None:
    """The secret with a token that others of the pod use, else the only one that the namespace's pods use."""
    mine = dict.fromkeys(_secrets_in(one.pod))
    others = (s for pod in cluster.pods_in(one.pod.namespace) for s in _secrets_in(pod))
    for found in (mine, {(s.name, s.key): s for s in others}.values()):
        if len(found) == 1:
            return next(iter(found))
    return None


def _secrets_in(pod: Pod) -> Iterator[TokenSecret]:
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        for variable in container.env:
            ref = (variable.value_from or {}).get("secretKeyRef") or {}
            if variable.name in TOKEN_NAMES and ref.get("name") and ref.get("key"):
                yield TokenSecret(str(ref["name"]), str(ref["key"]), f"`{container.name}` of {pod.name}")


def account_of(cluster: Snapshot, pod: Pod) -> Object | None:
    """The service account of a pod, when it was read."""
    return cluster.get("ServiceAccount", pod.namespace, pod.spec.service_account_name or "default")


def secrets_of(account: Object) -> tuple[str, ...]:
    """The secrets that a service account lists, those that platforms add by themselves left out."""
    names = (str(s.get("name", "")) for s in account.items("secrets") if isinstance(s, dict))
    return tuple(name for name in names if name and "-dockercfg-" not in name and "-token-" not in name)


def injected(cluster: Snapshot, one: Download) -> bool:
    """Whether KServe adds this container to the pods of a service, so that no owner names it."""
    owner = cluster.object_at(one.owner)
    if owner is None or one.container.name != STORAGE_INITIALIZER:
        return False
    root = cluster.pod_spec_path(one.pod, owner)
    named = owner.items(f"{root}.initContainers") if root else []
    return not any(isinstance(c, dict) and c.get("name") == STORAGE_INITIALIZER for c in named)


def given_token(cluster: Snapshot, one: Download, secret: TokenSecret, why: str) -> list[Change]:
    """The change that gives a download the token in a secret: through its account, or as a variable."""
    ref: dict[str, Any] = {"name": secret.name, "key": secret.key}
    if injected(cluster, one):
        account = account_of(cluster, one.pod)
        if account and secret.key == KSERVE_KEY:
            return [with_secret(account, secret.name, why)]
        if one.owner.kind != "InferenceService":
            return []
        ref["optional"] = True  # the container is every namespace's, the secret is not
    entry = {"name": KSERVE_KEY, "valueFrom": {"secretKeyRef": ref}}
    change = with_variable(cluster, one, entry, why)
    return [change] if change else []


def with_variable(cluster: Snapshot, one: Download, entry: dict[str, Any], why: str) -> Change | None:
    """The change that gives a container one more variable, where a person would add it."""
    place = cluster.place_of(one.pod, one.container.name)
    if place is None:
        return None
    if not place.exists:
        return cluster.edit(one.pod, one.container.name, "env", [entry], why)
    count = len(place.target.items(f"{place.container}.env"))
    return cluster.edit(one.pod, one.container.name, f"env[{count}]", entry, why)


def with_secret(account: Object, name: str, why: str) -> Change:
    """The change that lists one more secret in a service account."""
    path = f"secrets[{len(account.items('secrets'))}]"
    edit = Edit(path=path, before=account.value(path), after={"name": name})
    return Change(target=account.ref, edits=(edit,), why=why)
