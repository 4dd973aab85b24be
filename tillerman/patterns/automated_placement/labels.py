"""Labels that pods insist on and no node carries, and those that nodes carry instead: shared by faults."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from tillerman.cluster.change import ABSENT, Change, Edit, path_of
from tillerman.cluster.model import Node, Pod
from tillerman.cluster.placement import required_terms
from tillerman.cluster.snapshot import Snapshot

#: Spelled this alike, two label values are the same thing with a slip; found by trying real product names.
ALIKE = 0.75
#: A name this alike is a slip of the pen even where it reads as another product (`H10` for `H100`).
A_SLIP = 0.95
#: Labels that name the GPU of a node, each in its own spelling. Sources: GPU feature discovery; GKE; EKS.
SAME_MEANING = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "k8s.amazonaws.com/accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
)
#: The part of a product's name that tells one GPU from another (not its memory or its socket).
_MODEL = re.compile(r"(?<![a-z0-9])(?!hbm|sxm|mig)[a-z]{1,4}\d{1,4}[a-z]?(?![a-z0-9])")
_TERMS = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"


@dataclass(frozen=True, kw_only=True)
class Want:
    """A label that a pod insists on: its key, its values, and the field of the pod spec that says so."""

    key: str
    values: tuple[str, ...]
    field: str

    def __str__(self) -> str:
        return f"{self.key}={'|'.join(self.values)}"


def unmet(cluster: Snapshot, pod: Pod) -> Want | None:
    """The first label that a pod insists on and no node has; None when each is somewhere."""
    for key, value in pod.spec.node_selector.items():
        if not any(node.labels.get(key) == value for node in cluster.nodes):
            return Want(key=key, values=(value,), field=path_of(("nodeSelector", key)))
    for at, term in enumerate(required_terms(pod.spec)):
        for number, expression in enumerate(term):
            key, values = str(expression.get("key", "")), tuple(map(str, expression.get("values") or ()))
            carried = any(node.labels.get(key) in values for node in cluster.nodes)
            if expression.get("operator") == "In" and not carried:
                return Want(key=key, values=values, field=f"{_TERMS}[{at}].matchExpressions[{number}]")
    return None


def near(want: Want, nodes: Iterable[Node]) -> tuple[str, str]:
    """The label, key and value, of these nodes that is most likely meant; two empty texts for none."""
    keys = SAME_MEANING if want.key in SAME_MEANING else (want.key,)
    found = []
    for node in nodes:
        for key in keys:
            value = node.labels.get(key, "")
            alike = max(likeness(asked, value) for asked in want.values) if value else 0.0
            if alike >= ALIKE:
                found.append((key == want.key, alike, key, value))
    return max(found)[2:] if found else ("", "")


@lru_cache(maxsize=4096)
def likeness(asked: str, value: str) -> float:
    """How alike two label values are, 0 to 1: 0 when they name different GPUs, enough when the same."""
    one, two = asked.lower(), value.lower()
    ours, theirs = set(_MODEL.findall(one)), set(_MODEL.findall(two))
    ratio = difflib.SequenceMatcher(None, one, two).ratio()
    if ours & theirs:
        return max(ratio, ALIKE)
    return 0.0 if ours and theirs and ratio < A_SLIP else ratio


def relabel(cluster: Snapshot, pod: Pod, want: Want, label: tuple[str, str], why: str) -> Change | None:
    """The change that makes a pod insist on this label instead, key and value."""
    key, value = label
    if want.field.startswith("nodeSelector"):
        change = cluster.edit_pod(pod, path_of(("nodeSelector", key)), value, why)
        removed = drop(cluster, pod, want, why) if key != want.key else None
        edits: tuple[Edit, ...] = removed.edits if removed else ()
        return Change(target=change.target, edits=(*edits, *change.edits), why=why) if change else None
    change = cluster.edit_pod(pod, f"{want.field}.values", [value], why) if key == want.key else None
    return change if change and change.edits[0].before is not ABSENT else None


def drop(cluster: Snapshot, pod: Pod, want: Want, why: str) -> Change | None:
    """The change that makes a pod insist on this label no longer; None where its owner does not say it."""
    change = cluster.edit_pod(pod, want.field, ABSENT, why)
    return change if change and change.edits[0].before is not ABSENT else None
