"""The published CRDs, read from the Go modules that carry them and stripped of what only people read."""

from pathlib import Path
from typing import Any

import ryaml

CRD = "CustomResourceDefinition"


def collect(sources: list[tuple[Path, tuple[str, ...]]]) -> list[dict[str, Any]]:
    """All CRDs in the given folders' matching files, without descriptions, by name, each once."""
    found: dict[str, dict[str, Any]] = {}
    for folder, patterns in sources:
        for pattern in patterns:
            for path in sorted(folder.glob(pattern)):
                for document in ryaml.loads_all(path.read_text()):
                    if isinstance(document, dict) and document.get("kind") == CRD:
                        found.setdefault(document["metadata"]["name"], stripped(document))
    return [found[name] for name in sorted(found)]


def stripped(crd: dict[str, Any]) -> dict[str, Any]:
    """A CRD that validates the same and says nothing: no descriptions, no status, no conversion webhook.

    Without its webhook a conversion changes the version's name only; the lab puts the webhook back where
    the controller that answers it runs.
    """
    spec = {key: value for key, value in crd["spec"].items() if key != "conversion"}
    versions = [{**version, "schema": _quiet(version.get("schema", {}))} for version in spec["versions"]]
    annotations = {
        key: value
        for key, value in crd["metadata"].get("annotations", {}).items()
        if key == "api-approved.kubernetes.io"
    }
    return {
        "apiVersion": crd["apiVersion"],
        "kind": CRD,
        "metadata": {"name": crd["metadata"]["name"], "annotations": annotations},
        "spec": {**spec, "versions": versions},
    }


def served_kinds(crds: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Plural names by group, of all CRDs given: what a role that may read them names."""
    groups: dict[str, set[str]] = {}
    for crd in crds:
        groups.setdefault(crd["spec"]["group"], set()).add(crd["spec"]["names"]["plural"])
    return groups


def permissive(group: str, version: str, kind: str, namespaced: bool) -> dict[str, Any]:
    """A CRD that accepts any object of a kind nobody published to us, with a status of its own."""
    plural = plural_of(kind)
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": CRD,
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, accepts anything"},
        },
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def plural_of(kind: str) -> str:
    """The plural by the rule that code generators use."""
    name = kind.lower()
    if name.endswith(("s", "x", "ch", "sh")):
        return f"{name}es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}s"


def _quiet(node: Any, in_properties: bool = False) -> Any:
    """A schema without its descriptions; a property that is called `description` stays."""
    if isinstance(node, list):
        return [_quiet(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _quiet(value, in_properties=key == "properties" and not in_properties)
        for key, value in node.items()
        if in_properties or key != "description" or not isinstance(value, str)
    }
