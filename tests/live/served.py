"""A recorded cluster, served read-only over HTTP as an API server would, with the troubles a test asks for.

It knows discovery, lists with limit and continue, namespaces, logs, and the pods' proxy to /metrics. What it
serves is a snapshot directory; what it says when it refuses is what a kube-apiserver 1.37 says.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import ryaml

Manifest = dict[str, Any]
TOKEN = "read-me"

_OWN = {
    "": "Pod Node Event Namespace Service ConfigMap ServiceAccount PersistentVolumeClaim PersistentVolume "
    "ResourceQuota LimitRange Secret",
    "apps": "Deployment ReplicaSet StatefulSet DaemonSet",
    "batch": "Job CronJob",
    "rbac.authorization.k8s.io": "Role RoleBinding ClusterRole ClusterRoleBinding",
}
_CLUSTER_SCOPED = {
    *(
        "Node",
        "Namespace",
        "PersistentVolume",
        "StorageClass",
        "PriorityClass",
        "RuntimeClass",
        "ClusterPolicy",
    ),
    *(
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterServingRuntime",
        "ClusterStorageContainer",
        "ResourceSlice",
    ),
    *("DeviceClass", "GatewayClass", "NodePool", "NodeClaim", "ClusterQueue", "ResourceFlavor"),
}


def plural(kind: str) -> str:
    """The name of a kind in paths, by the rules of English that Kubernetes' own kinds follow."""
    word = kind.lower()
    if re.search(r"(?:s|x|ch)$", word):
        return f"{word}es"
    return f"{word[:-1]}ies" if re.search(r"[^aeiou]y$", word) else f"{word}s"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is answered instead of the truth; `status` 0 never answers."""

    status: int
    message: str = "trouble"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(kw_only=True)
class Trouble:
    """An answer to the requests that match, the first `times` of them, after `skip` were answered well."""

    matching: str
    answer: Answer
    times: int = 1_000_000
    skip: int = 0

    def strikes(self, path: str) -> bool:
        """Whether this request is one of them."""
        if not re.search(self.matching, path) or self.times <= 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass(kw_only=True)
class Served:
    """One cluster, and what was asked of it."""

    root: Path
    troubles: list[Trouble] = field(default_factory=list)
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    asked: list[str] = field(default_factory=list)
    preferred: dict[str, list[str]] = field(default_factory=dict)
    url: str = ""
    scrapes: dict[str, int] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def taken_at(self) -> datetime:
        """The server's clock: the snapshot's moment."""
        return datetime.fromisoformat(str(ryaml.loads((self.root / "snapshot.yaml").read_text())["taken_at"]))

    def moves_to(self, moment_s: float) -> None:
        """Sets the server's clock."""
        self.taken_at = datetime.fromtimestamp(moment_s, UTC)

    @cached_property
    def manifests(self) -> list[Manifest]:
        """Every object of the directory, as written there."""
        found: list[Manifest] = []
        for path in sorted((self.root / "cluster").rglob("*.*")):
            text = path.read_text("utf-8")
            documents = [orjson.loads(text)] if path.suffix == ".json" else ryaml.loads_all(text)
            for document in documents:
                found += _flat(document or {})
        return found

    @cached_property
    def kinds(self) -> dict[tuple[str, str], dict[str, tuple[str, bool]]]:
        """By group and version: the plurals, their kind, and whether it is namespaced."""
        found: dict[tuple[str, str], dict[str, tuple[str, bool]]] = {}
        for group, kinds in _OWN.items():
            version = "v1"
            found[group, version] = {plural(k): (k, k not in _CLUSTER_SCOPED) for k in kinds.split()}
        for one in self.manifests:
            group, _, version = one["apiVersion"].rpartition("/")
            namespaced = "namespace" in one["metadata"] or one["kind"] not in _CLUSTER_SCOPED
            found.setdefault((group, version), {})[plural(one["kind"])] = (one["kind"], namespaced)
        return found

    def groups(self) -> Manifest:
        """What /apis says."""
        versions: dict[str, list[str]] = {}
        for group, version in self.kinds:
            if group:
                versions.setdefault(group, []).append(version)
        listed = []
        for group, named in sorted(versions.items()):
            ordered = [
                {"groupVersion": f"{group}/{v}", "version": v} for v in self.preferred.get(group, named)
            ]
            listed.append({"name": group, "versions": ordered, "preferredVersion": ordered[0]})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}

    def served_kinds(self, group: str, version: str) -> Manifest:
        """What /apis/GROUP/VERSION says."""
        resources = []
        for name, (kind, namespaced) in self.kinds[group, version].items():
            resources.append(
                {"name": name, "kind": kind, "namespaced": namespaced, "verbs": ["get", "list", "watch"]}
            )
            resources.append(
                {"name": f"{name}/status", "kind": kind, "namespaced": namespaced, "verbs": ["get"]}
            )
        return {
            "kind": "APIResourceList",
            "groupVersion": f"{group}/{version}".strip("/"),
            "resources": resources,
        }

    def objects(self, group: str, name: str, namespace: str) -> list[Manifest]:
        """The objects behind a list, of every version of their group, without what a list leaves out."""
        found = [
            {key: value for key, value in one.items() if key not in ("apiVersion", "kind")}
            for one in self.manifests
            if one["apiVersion"].rpartition("/")[0] == group
            and plural(one["kind"]) == name
            and (not namespace or one["metadata"].get("namespace") == namespace)
        ]
        return sorted(found, key=lambda one: (one["metadata"].get("namespace", ""), one["metadata"]["name"]))

    def log(self, namespace: str, pod: str, query: dict[str, str]) -> bytes | None:
        """A log as the kubelet cuts it: the last lines, and of those no more than so many bytes."""
        name = f"{query['container']}.previous.log" if query.get("previous") else f"{query['container']}.log"
        path = self.root / "logs" / namespace / pod / name
        if not path.is_file():
            return None
        lines = path.read_bytes().splitlines(keepends=True)
        if "tailLines" in query:
            lines = lines[-int(query["tailLines"]) :]
        return b"".join(lines)[: int(query.get("limitBytes", 1 << 40))]

    def scrape(self, namespace: str, pod: str, port: int) -> bytes | None:
        """The next scrape of a pod, in a circle (a DCGM exporter's are its node's), or None."""
        if self.ports.get(pod, port) != port:
            return None
        folder = self.root / "metrics" / namespace / pod
        if "dcgm" in pod:
            one = next(m for m in self.manifests if m["kind"] == "Pod" and m["metadata"]["name"] == pod)
            folder = self.root / "metrics" / "nodes" / one["spec"]["nodeName"]
        found = sorted(folder.glob("*.prom"))
        if not found:
            return None
        with self.lock:
            turn = self.scrapes[pod] = self.scrapes.get(pod, 0) + 1
        return found[(turn - 1) % len(found)].read_bytes()


def _flat(document: Manifest) -> list[Manifest]:
    if "items" not in document:
        return [document] if document.get("kind") else []
    kind = str(document["kind"]).removesuffix("List")
    return [{"apiVersion": document["apiVersion"], "kind": kind} | item for item in document["items"]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(self.served.taken_at, usegmt=True)

    def do_GET(self) -> None:
        served, parts = self.served, urlsplit(self.path)
        with served.lock:
            served.asked.append(unquote(self.path))
            trouble = next((t for t in served.troubles if t.strikes(unquote(self.path))), None)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if trouble:
            self._answer(trouble.answer)
        elif self.headers.get("Authorization", "").removeprefix("Bearer ") not in served.tokens:
            self._refuse(401, "Unauthorized", "Unauthorized")
        else:
            self._serve(parts.path, query)

    def _serve(self, path: str, query: dict[str, str]) -> None:
        served = self.served
        if path == "/apis":
            self._json(served.groups())
        elif found := re.fullmatch(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)/log", path):
            self._log(found[1], found[2], query)
        elif found := re.fullmatch(
            r"/api/v1/namespaces/([^/]+)/pods/(?:https:)?([^/:]+):(\d+)/proxy/metrics", path
        ):
            self._proxy(found[1], found[2], int(found[3]))
        elif found := re.fullmatch(r"/api/v1/namespaces/([^/]+)", path):
            named = [
                one for one in served.objects("", "namespaces", "") if one["metadata"]["name"] == found[1]
            ]
            self._json(named[0]) if named else self._missing()
        elif found := re.fullmatch(
            r"(?:/api|/apis/([^/]+))/([^/]+)(?:/(?:namespaces/([^/]+)/)?([^/]+))?", path
        ):
            group, version, namespace, name = found[1] or "", found[2], found[3] or "", found[4]
            kinds = served.kinds.get((group, version), {})
            if name is None and kinds:
                self._json(served.served_kinds(group, version))
            elif name in kinds:
                self._list(
                    served.objects(group, name, namespace),
                    f"{group}/{version}".strip("/"),
                    kinds[name][0],
                    query,
                )
            else:
                self._missing()
        else:
            self._missing()

    def _list(self, found: list[Manifest], version: str, kind: str, query: dict[str, str]) -> None:
        start, limit = (
            int(query.get("continue", "0+/=").rstrip("+/=")),
            int(query.get("limit", len(found) or 1)),
        )
        meta: Manifest = {"resourceVersion": "4711"}
        if start + limit < len(found):
            meta |= {"continue": f"{start + limit}+/=", "remainingItemCount": len(found) - start - limit}
        self._json(
            {"kind": f"{kind}List", "apiVersion": version, "metadata": meta, "items": found[start:][:limit]}
        )

    def _log(self, namespace: str, pod: str, query: dict[str, str]) -> None:
        found = self.served.log(namespace, pod, query)
        if found is None:
            word = f'container "{query["container"]}" in pod "{pod}"'
            self._refuse(
                400, "BadRequest", f"previous terminated {word} not found" if query.get("previous") else word
            )
        else:
            self._send(200, found, {"Content-Type": "text/plain"})

    def _proxy(self, namespace: str, pod: str, port: int) -> None:
        found = self.served.scrape(namespace, pod, port)
        if found is None:
            message = (
                f"error trying to reach service: dial tcp 10.64.0.41:{port}: connect: connection refused"
            )
            self._refuse(503, "ServiceUnavailable", message)
        else:
            self._send(200, found, {"Content-Type": "text/plain; version=0.0.4"})

    def _answer(self, answer: Answer) -> None:
        if answer.status == 0:
            self.served.closing.wait()
            self.close_connection = True
        elif answer.body is not None:
            self._send(answer.status, answer.body, answer.headers)
        else:
            reasons = {
                401: "Unauthorized",
                403: "Forbidden",
                404: "NotFound",
                410: "Expired",
                429: "TooManyRequests",
            }
            self._refuse(
                answer.status, reasons.get(answer.status, "InternalError"), answer.message, answer.headers
            )

    def _missing(self) -> None:
        self._refuse(404, "NotFound", "the server could not find the requested resource")

    def _refuse(self, status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> None:
        said = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
        self._json(said | {"reason": reason, "code": status}, status, headers)

    def _json(self, value: Manifest, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(status, orjson.dumps(value), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """Serves a cluster on a free port of this machine until the block ends."""
    handler = type("Handler", (_Handler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield served
        finally:
            served.closing.set()
            server.shutdown()
            thread.join(5)


def kubeconfig(path: Path, url: str, user: Manifest | None = None, name: str = "test") -> str:
    """Writes a kubeconfig with one context, and gives its path."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": TOKEN} if user is None else user}],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(json.dumps(config))
    return str(path)
