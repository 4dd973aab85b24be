"""Who may speak to the lab: four people, their tokens, their roles and their kubeconfig files."""

import base64
import json
import secrets
from pathlib import Path
from typing import Any

READ = ["get", "list", "watch"]
GROUPS = {"admin": "system:masters", "reader": "", "writer": "", "nobody": ""}
IDENTITIES = tuple(GROUPS)
Object = dict[str, Any]


def make_tokens(path: Path) -> None:
    """Write the file of tokens that the API server reads: fresh ones, readable by the user only."""
    path.touch(mode=0o600)
    lines = [f'{secrets.token_urlsafe(24)},lab-{name},{name},"{group}"' for name, group in GROUPS.items()]
    path.write_text("\n".join(lines) + "\n")


def read_tokens(path: Path) -> dict[str, str]:
    """The tokens by identity."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    return {row[2]: row[0] for row in rows}


def roles(custom: dict[str, set[str]]) -> list[Object]:
    """The roles and bindings: `reader` reads all but secrets, `writer` also patches what serves models.

    Kubernetes' own `view` says nothing of what has no namespace and of custom resources, so these name them.
    """
    reading = [
        _rule(
            "",
            "nodes",
            "pods/log",
            "pods/proxy",
            "services/proxy",
            "events",
            "persistentvolumes",
            "namespaces",
        ),
        _rule("storage.k8s.io", "storageclasses", "csinodes"),
        _rule("resource.k8s.io", "*"),
        _rule("scheduling.k8s.io", "priorityclasses"),
        _rule("node.k8s.io", "runtimeclasses"),
        _rule("rbac.authorization.k8s.io", "roles", "rolebindings", "clusterroles", "clusterrolebindings"),
        _rule("admissionregistration.k8s.io", "*"),
        _rule("apiextensions.k8s.io", "customresourcedefinitions"),
        _rule("apiregistration.k8s.io", "apiservices"),
        *(_rule(group, *sorted(plurals)) for group, plurals in sorted(custom.items())),
    ]
    serving = "inferenceservices", "llminferenceservices"
    writing = [
        _rule("serving.kserve.io", *serving, verbs=["patch"]),
        _rule("apps", "deployments", verbs=["patch"]),
    ]
    return [
        _role("lab-reader", reading),
        _role("lab-writer", writing),
        _binding("lab-reader-view", "view", "lab-reader", "lab-writer"),
        _binding("lab-reader", "lab-reader", "lab-reader", "lab-writer"),
        _binding("lab-writer", "lab-writer", "lab-writer"),
    ]


def kubeconfig(url: str, ca: str, tokens: dict[str, str], current: str) -> str:
    """A kubeconfig with one context per token given, `lab-<identity>`; JSON, which YAML readers read."""
    data = base64.b64encode(ca.encode()).decode()
    cluster = {"server": url, "certificate-authority-data": data}
    contexts = [
        {"name": f"lab-{name}", "context": {"cluster": "lab", "user": f"lab-{name}", "namespace": "default"}}
        for name in tokens
    ]
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": f"lab-{name}", "user": {"token": token}} for name, token in tokens.items()],
            "contexts": contexts,
            "current-context": f"lab-{current}",
        },
        indent=1,
    )


def _rule(group: str, *resources: str, verbs: list[str] | None = None) -> Object:
    return {"apiGroups": [group], "resources": list(resources), "verbs": verbs or READ}


def _role(name: str, rules: list[Object]) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": rules,
    }


def _binding(name: str, role: str, *users: str) -> Object:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user} for user in users],
    }
