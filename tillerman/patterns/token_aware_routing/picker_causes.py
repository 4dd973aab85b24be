"""Why an endpoint picker does not get ready: permissions, the pool it looks for, its configuration."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tillerman.cluster.change import Change, Edit, path_of
from tillerman.cluster.commandline import flags_of
from tillerman.cluster.logs import Log
from tillerman.cluster.model import Container, Pod, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, seen_log, seen_object
from tillerman.patterns.token_aware_routing.permissions import (
    WATCHING,
    Refusal,
    allows,
    bindings_of,
    may_watch,
    refusals,
    role_of,
)
from tillerman.patterns.token_aware_routing.pools import Pool, pickers_of, pools

#: Lines about a configuration that cannot be used, of the llm-d router and its predecessors.
_CONFIG = (
    r"(?i)failed to (?:load|parse|read|instantiate|configure|create)\b.*(?:config|plugin)"
    r"|plugin\b.*(?:not registered|not found|unknown|unsupported)|unknown plugin"
    r"|no matches for kind|unknown flag|flag provided but not defined"
)
#: Plugins by their older names. Source: llm-d router 0.10 release notes.
_PLUGINS: Mapping[str, str] = {
    "pd-profile-handler": "disagg-profile-handler",
    "prefix-based-pd-decider-plugin": "prefix-based-pd-decider",
}


@dataclass(frozen=True, kw_only=True)
class Cause:
    """The object a person would change, what is wrong in a clause, and the change where one repairs it."""

    subject: Ref
    said: str
    because: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    change: Change | None = None
    advice: tuple[str, ...] = ()


def cause_of(cluster: Snapshot, pod: Pod, *, down: bool) -> Cause | None:
    """Why a picker does not serve; for one that is not `down` only what its arguments prove."""
    container = next((c for c in pod.spec.containers if is_picker_container(c)), pod.spec.containers[0])
    found = _wrong_pool(cluster, pod, container, down=down)
    if found or not down:
        return found
    return _refused(cluster, pod, container) or _misconfigured(cluster, pod, container)


def is_picker_container(container: Container) -> bool:
    """Whether a container is the picker, rather than a tokenizer beside it."""
    words = (*container.command, *container.args)
    return any(word.startswith(("--pool-name", "--grpc-health-port", "--config-file")) for word in words)


def _logs(cluster: Snapshot, pod: Pod, container: Container) -> Iterator[Log]:
    for log in (cluster.last_words(pod, container.name), cluster.log(pod, container.name)):
        if log:
            yield log


def _refused(cluster: Snapshot, pod: Pod, container: Container) -> Cause | None:
    """A resource that the picker may not watch: by its role, or for want of a binding."""
    account = pod.spec.service_account_name or "default"
    refused = next((list(r) for log in _logs(cluster, pod, container) if (r := tuple(refusals(log)))), [])
    lacking = [r for r in refused if not may_watch(cluster, pod.namespace, account, r)]
    if not lacking:
        return None
    what = ", ".join(f"`{r.resource}` of `{r.group or 'core'}`" for r in lacking)
    evidence = tuple(seen_log(pod.ref, container.name, r.line.number, r.line.text) for r in lacking[:3])
    subject, change, how = _repair(cluster, pod, account, lacking)
    return Cause(
        subject=subject,
        said=f"may not list {what}",
        because=(f"its service account `{account}` may not list {what}", how),
        evidence=evidence,
        change=change,
        advice=(
            f"`kubectl -n {pod.namespace} auth can-i list {lacking[0].resource}.{lacking[0].group}"
            f" --as system:serviceaccount:{pod.namespace}:{account}` tells when it is right",
            "keep picker and CRDs of one release: objectives moved to the API group llm-d.ai",
        ),
    )


def _repair(
    cluster: Snapshot, pod: Pod, account: str, lacking: list[Refusal]
) -> tuple[Ref, Change | None, str]:
    """What to change for a permission: the object, the change, and what is wrong with it now."""
    bound = [
        role for _, ref in bindings_of(cluster, pod.namespace, account) if (role := cluster.object_at(ref))
    ]
    named = [role for role in bound if _about_pools(role)] or [r for r in bound if r.namespace]
    if named:
        role = named[0]
        owner = cluster.owner_of(role)
        change = _with_rules(role, lacking) if owner.key == role.ref.key else None
        return owner, change, f"the {role.kind} `{role.name}` it is bound to has no such rule"
    for binding in cluster.all("RoleBinding", pod.namespace):
        role = cluster.object_at(role_of(binding))
        if all(allows(role, r.group, r.resource) for r in lacking):
            return _bound_elsewhere(cluster, pod, account, binding)
    return cluster.owner_of(pod), None, "no role that could be read is bound to it"


def _about_pools(role: Object) -> bool:
    return any("inference" in str(rule) or "llm-d.ai" in str(rule) for rule in role.items("rules"))


def _with_rules(role: Object, lacking: list[Refusal]) -> Change:
    """The role with one rule more for each API group that lacks one."""
    groups: dict[str, list[str]] = {}
    for refused in lacking:
        groups.setdefault(refused.group, []).append(refused.resource)
    rules = [{"apiGroups": [g], "resources": names, "verbs": list(WATCHING)} for g, names in groups.items()]
    edit = Edit(path="rules", before=role.value("rules"), after=[*role.items("rules"), *rules])
    why = "the picker lists and watches " + ", ".join(r.resource for r in lacking)
    return Change(target=role.ref, edits=(edit,), why=why)


def _bound_elsewhere(
    cluster: Snapshot, pod: Pod, account: str, binding: Object
) -> tuple[Ref, Change | None, str]:
    """A binding with the rule for another account: the pod takes that account, or the binding this one."""
    others = [s for s in binding.items("subjects") if s.get("kind") == "ServiceAccount"]
    other = str(others[0].get("name", "")) if others else ""
    if account == "default" and other and cluster.get("ServiceAccount", pod.namespace, other):
        why = f"the binding `{binding.name}` gives what it needs to the account `{other}`"
        change = cluster.edit_pod(pod, "serviceAccountName", other, why)
        return cluster.owner_of(pod), change, f"it runs as `default`, while `{other}` has the permissions"
    subject = {"kind": "ServiceAccount", "name": account, "namespace": pod.namespace}
    edit = Edit(
        path="subjects", before=binding.value("subjects"), after=[*binding.items("subjects"), subject]
    )
    why = f"the picker runs as `{account}`, which no binding names"
    change = Change(target=binding.ref, edits=(edit,), why=why)
    return binding.ref, change, f"the binding `{binding.name}` names {other or 'no account'}, not this one"


def _wrong_pool(cluster: Snapshot, pod: Pod, container: Container, *, down: bool) -> Cause | None:
    """Arguments that name no pool, while exactly one pool refers to the picker's Service."""
    flags = {f.name: f.value for f in flags_of((*container.command, *container.args), "args")}
    name, space = flags.get("pool-name", ""), flags.get("pool-namespace", pod.namespace)
    if not name or "$" in name + space or not cluster.sees("InferencePool"):
        return None
    named = cluster.get("InferencePool", space, name)
    group = flags.get("pool-group", "")
    mine = [
        pool
        for pool in pools(cluster, pod.namespace)
        if any(p.ref == pod.ref for p in pickers_of(cluster, pool))
    ]
    if named is not None:
        have = named.ref.api_version.split("/")[0]
        if not group or group in _groups(cluster, named.ref) or len(mine) != 1:
            return None
        return _named(cluster, pod, container, ("pool-group", group, have), mine[0])
    if len(mine) != 1:
        return _no_pool(cluster, pod, container, f"{space}/{name}") if down and not mine else None
    pool = mine[0].pool
    wrong = ("pool-name", name, pool.name) if pool.name != name else ("pool-namespace", space, pool.namespace)
    return _named(cluster, pod, container, wrong, mine[0])


def _groups(cluster: Snapshot, ref: Ref) -> set[str]:
    """The API groups in which an object of this kind and name was read: a pool may be in an older one too."""
    return {item.ref.api_version.split("/")[0] for item in cluster.objects if item.ref.key == ref.key}


def _no_pool(cluster: Snapshot, pod: Pod, container: Container, name: str) -> Cause:
    return Cause(
        subject=cluster.owner_of(pod),
        said=f"looks for the pool `{name}`, which does not exist",
        because=(f"no InferencePool is called `{name}`, and none refers to this picker's Service",),
        evidence=(seen_object(pod.ref, f"spec.containers[{container.name}] --pool-name", name),),
        advice=(f"create the InferencePool `{name}`, or remove the picker that waits for it",),
    )


def _named(
    cluster: Snapshot, pod: Pod, container: Container, wrong: tuple[str, str, str], pool: Pool
) -> Cause:
    flag, value, right = wrong
    words = tuple(flags_of((*container.command, *container.args), "args"))
    place = cluster.place_of(pod, container.name)
    preset = place is not None and place.target.kind == "LLMInferenceService" and not place.exists
    server = Server(pod=pod, container=container, engine="", flags=words, env={})
    why = f"the pool that refers to this picker is {pool.ref}"
    return Cause(
        subject=cluster.owner_of(pod),
        said=f"is told --{flag}={value}, the pool that refers to it is `{pool.pool.name}`",
        because=(
            f"--{flag} is `{value}`: no pool fits it",
            f"the pool that refers to its Service is {pool.ref}",
        ),
        evidence=(
            seen_object(pod.ref, f"spec.containers[{container.name}] --{flag}", value),
            seen_object(pool.ref, "spec.endpointPickerRef", pool.value("endpointPickerRef")),
        ),
        change=None if preset else cluster.edit_flag(server, flag, right, why),
        advice=("a picker without its pool logs `Pool is not initialized` and reports NOT_SERVING",),
    )


def _misconfigured(cluster: Snapshot, pod: Pod, container: Container) -> Cause | None:
    """An error about the picker's configuration, the config map it stands in, and a plugin's new name."""
    for log in _logs(cluster, pod, container):
        found = log.first(_CONFIG)
        if not found:
            continue
        old = next((name for name in _PLUGINS if name in found[0].text), "")
        config, key = _config_with(cluster, pod, old)
        if old and config is None and cluster.sees("ConfigMap"):
            return None
        change = None
        if config is not None:
            path = path_of(("data", key))
            after = re.sub(rf"(?<![\w-]){old}(?![\w-])", _PLUGINS[old], config.text(path))
            edit = Edit(path=path, before=config.value(path), after=after)
            change = Change(target=config.ref, edits=(edit,), why=f"`{old}` is called `{_PLUGINS[old]}` now")
        return Cause(
            subject=config.ref if config is not None else cluster.owner_of(pod),
            said=f"ends with `{found[0].text.strip()[-160:]}`",
            because=("its configuration does not fit its release",),
            evidence=(seen_log(pod.ref, container.name, found[0].number, found[0].text),),
            change=change,
            advice=("compare the configuration's plugins and apiVersion with its image's release",),
        )
    return None


def _config_with(cluster: Snapshot, pod: Pod, plugin: str) -> tuple[Object | None, str]:
    """The config map of a pod that names a plugin, and its key."""
    for volume in pod.spec.volumes if plugin else ():
        name = str((volume.get("configMap") or {}).get("name", ""))
        config = cluster.get("ConfigMap", pod.namespace, name)
        for key, text in config.table("data").items() if config else ():
            if re.search(rf"(?<![\w-]){plugin}(?![\w-])", str(text)):
                return config, str(key)
    return None, ""
