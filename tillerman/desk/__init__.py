"""The desk: the verbs that every door calls.

Each has one name, one form of arguments and one type of answer everywhere.
"""

import difflib
from collections.abc import Callable
from dataclasses import replace

from tillerman.cluster.index import Key
from tillerman.cluster.model import Ref
from tillerman.cluster.snapshot import Snapshot
from tillerman.desk.estate import Estate, estate_of
from tillerman.errors import UsageError
from tillerman.patterns import diagnosis
from tillerman.patterns.diagnosis import Diagnosis, Finding

__all__ = ["Diagnosis", "Estate", "Finding", "diagnose", "explain", "look"]


def look(cluster: Snapshot, namespaces: tuple[str, ...] = ()) -> Estate:
    """The LLM estate at a glance.

    With namespaces, only the models served there (nodes belong to everyone).
    """
    _check_namespaces(cluster, namespaces)
    found = estate_of(cluster)
    kept = tuple(model for model in found.models if model.owner.namespace in namespaces)
    return replace(found, models=kept) if namespaces else found


def diagnose(cluster: Snapshot, target: str = "", namespaces: tuple[str, ...] = ()) -> Diagnosis:
    """What is wrong, roots first; with a target (`Kind/namespace/name`) or namespaces, what touches them.

    Raises: UsageError when the cluster holds no such object or namespace.
    """
    _check_namespaces(cluster, namespaces)
    found = diagnosis.diagnose(cluster)
    if target:
        about = _about(cluster, target)
        found = _kept(found, lambda ref: ref.key in about)
    return _kept(found, lambda ref: ref.namespace in namespaces) if namespaces else found


def _kept(found: Diagnosis, touches: Callable[[Ref], bool]) -> Diagnosis:
    """The findings about these objects, with the roots that explain them."""
    kept = [f for f in found.findings if touches(f.subject) or any(touches(ref) for ref in f.related)]
    ids = {f.id for f in kept} | {root for f in kept for root in f.explained_by}
    return replace(found, findings=tuple(f for f in found.findings if f.id in ids))


def explain(cluster: Snapshot, finding: str) -> tuple[Finding, Diagnosis]:
    """One finding in full, by its id or the unique beginning of it, with the diagnosis it stands in.

    Raises: UsageError when there is none, or several begin so.
    """
    found = diagnosis.diagnose(cluster)
    exact = [f for f in found.findings if f.id == finding]
    matches = exact or [f for f in found.findings if f.id.startswith(finding) or str(f.subject) == finding]
    if len(matches) == 1:
        return matches[0], found
    ids = ", ".join(f"`{f.id}`" for f in (matches or found.findings)[:8]) or "none: nothing is wrong"
    if matches:
        raise UsageError(f"{len(matches)} findings begin with `{finding}`", f"name one whole: {ids}")
    raise UsageError(f"no finding is called `{finding}`", f"the findings are {ids}")


def _check_namespaces(cluster: Snapshot, namespaces: tuple[str, ...]) -> None:
    """Refuses a namespace that nothing was read of: nothing wrong there would mean nothing."""
    if cluster.source.kind == "live" and not cluster.sees("Namespace"):
        return
    there = {item.name for item in cluster.all("Namespace")}
    there |= {pod.namespace for pod in cluster.pods} | {item.namespace for item in cluster.objects}
    for name in namespaces:
        if name not in there:
            near = difflib.get_close_matches(name, there - {""}, n=1) or sorted(there - {""})[:6]
            raise UsageError(f"the cluster holds no namespace `{name}`", f"there is {', '.join(near)}")


def _about(cluster: Snapshot, target: str) -> set[Key]:
    """The object a target names, the pods it controls, and their owners."""
    parts = target.split("/")
    kind, *spaces, name = parts if len(parts) > 1 else ("", "")
    if not kind or len(spaces) > 1 or not all(parts):
        raise UsageError(
            f"`{target}` names no object", "write `Kind/namespace/name`, or `Kind/name` for a node"
        )
    namespace = spaces[0] if spaces else ""
    refs = [
        *(o.ref for o in cluster.objects),
        *(p.ref for p in cluster.pods),
        *(n.ref for n in cluster.nodes),
    ]
    same = [ref for ref in refs if ref.kind.lower() == kind.lower()]
    found = [ref for ref in same if ref.name == name and (not namespace or ref.namespace == namespace)]
    if not found:
        there = f"there are {', '.join(sorted(map(str, same))[:6])}" if same else f"no `{kind}` was read"
        raise UsageError(f"the cluster holds no `{target}`", there)
    pods = [pod for ref in found for pod in cluster.pods_of(ref)]
    pods += [pod for ref in found if ref.kind == "Pod" and (pod := cluster.pod(ref.namespace, ref.name))]
    owners = [owner for pod in pods for owner in (*cluster.owners_of(pod), pod.ref)]
    return {ref.key for ref in (*found, *owners)}
