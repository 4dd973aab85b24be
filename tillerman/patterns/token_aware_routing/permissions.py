"""What a service account may do, as far as roles could be read, and what an API server refused it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from tillerman.cluster.logs import Line, Log
from tillerman.cluster.model import Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot

RBAC = "rbac.authorization.k8s.io/v1"
#: What a controller needs of what it watches.
WATCHING = ("get", "list", "watch")

_REFUSED = re.compile(
    r'User "system:serviceaccount:([^:"]+):([^"]+)" cannot (\w+) resource "([\w./-]+)"'
    r' in API group "([\w.-]*)"'
)


class Refusal(NamedTuple):
    """A request that was refused: the resource and its API group, and the line that says so."""

    group: str
    resource: str
    line: Line


def refusals(log: Log | None) -> Iterator[Refusal]:
    """Each resource that a log says its service account may not list or watch, once."""
    seen: set[tuple[str, str]] = set()
    for line, _ in log.find(r"is forbidden|cannot (?:list|watch|get) resource") if log else ():
        found = _REFUSED.search(line.text.replace('\\"', '"'))
        if found and (found[5], found[4]) not in seen:
            seen.add((found[5], found[4]))
            yield Refusal(group=found[5], resource=found[4], line=line)


def bindings_of(cluster: Snapshot, namespace: str, account: str) -> Iterator[tuple[Object, Ref]]:
    """The bindings of a service account that count in its namespace, each with the role it refers to."""
    for kind, space in (("RoleBinding", namespace), ("ClusterRoleBinding", None)):
        for binding in cluster.all(kind, space):
            if any(_means(subject, binding, namespace, account) for subject in binding.items("subjects")):
                yield binding, role_of(binding)


def _means(subject: object, binding: Object, namespace: str, account: str) -> bool:
    """Whether a binding's subject is a service account, or a group that it is in."""
    if not isinstance(subject, dict):
        return False
    if subject.get("kind") == "Group":
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return subject.get("name") in groups
    space = subject.get("namespace", binding.namespace)
    return subject.get("kind") == "ServiceAccount" and (space, subject.get("name")) == (namespace, account)


def role_of(binding: Object) -> Ref:
    """The role that a binding refers to."""
    kind = binding.text("roleRef.kind")
    return Ref(RBAC, kind, "" if kind == "ClusterRole" else binding.namespace, binding.text("roleRef.name"))


def allows(role: Object | None, group: str, resource: str) -> bool:
    """Whether a role lets its holders list and watch all objects of a resource."""
    return any(
        _covers(rule.get("apiGroups"), group)
        and _covers(rule.get("resources"), resource)
        and all(_covers(rule.get("verbs"), verb) for verb in WATCHING[1:])
        and not rule.get("resourceNames")
        for rule in (role.items("rules") if role else ())
        if isinstance(rule, dict)
    )


def _covers(listed: object, value: str) -> bool:
    return isinstance(listed, list) and ("*" in listed or value in listed)


def may_watch(cluster: Snapshot, namespace: str, account: str, refused: Refusal) -> bool:
    """Whether a service account may list and watch a resource now, by the roles that could be read."""
    roles = (role for _, role in bindings_of(cluster, namespace, account))
    return any(allows(cluster.object_at(role), refused.group, refused.resource) for role in roles)
