"""MCP sessions live in one replica, and a Service spreads their requests over all: calls fail now and then.

What happens
An MCP server that keeps sessions gives its client an id, and remembers it in its own memory. Behind a Service
without affinity the next request of the same session may reach another replica, which knows nothing of it and
says so. With two replicas half of the calls fail, with one none.

How it shows
`Session not found` (404, -32600), `Could not find session for ID`, `No valid session ID provided`, `Server
not initialized` or `Received request before initialization was complete` in the logs of several replicas or
of a client, between requests that succeed.

When we stay silent
One replica is ready; the Service has affinity, or a route in front of it hashes; the server is told to be
stateless; the logs say nothing of it, or only once.

What we propose
`sessionAffinity: ClientIP` on the Service. Better, where the server can: stateless mode.

Sources
modelcontextprotocol/python-sdk#1180, agentic-community/mcp-gateway-registry#960,
kubernetes-sigs/mcp-lifecycle-operator#143, getnao/nao#925; python-sdk 1.x and typescript-sdk 1.x.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.logs import Log
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, seen_log, seen_object

#: What servers and clients say of a session that this replica does not know.
LOST = (
    r"(?i)session (?:\S+ )?not found|could not find session|no valid session id|unknown or expired session"
    r"|server not initialized|before initialization was complete"
)
#: The same in a web server's access log, where nothing else is printed; and a request that went well.
REFUSED = r'"(?:POST|GET|DELETE) /(?:\S*/)?(?:mcp|messages|sse)\b\S* HTTP/[\d.]+" 40[04]'
WELL = r'"(?:POST|GET) /(?:\S*/)?(?:mcp|messages|sse)\b\S* HTTP/[\d.]+" 20\d'
#: One or two lost sessions are a restart or a client that came back late.
REPEATED = 3
_MCP = re.compile(r"(?i)(?:^|[^a-z])(?:fast)?(?:mcp|a2a)(?:[^a-z]|$)")
_STATELESS = re.compile(r"(?i)stateless")
_STICKY = ("nginx.ingress.kubernetes.io/affinity", "nginx.ingress.kubernetes.io/upstream-hash-by")
_NO = ("", "0", "false", "no", "off")


@dataclass(frozen=True, kw_only=True)
class McpSessionLost(Fault):
    """One Service that spreads MCP sessions over replicas that do not share them."""

    layer = Layer.TRAFFIC

    service: Object
    owner: Ref
    replicas: int
    lines: int
    routed: tuple[str, ...]

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Services in front of several MCP servers whose logs tell of lost sessions."""
        seen: set[Ref] = set()
        for service in cluster.all("Service"):
            selector = {key: str(value) for key, value in service.table("spec.selector").items()}
            pods = [pod for pod in cluster.pods_matching(service.namespace, selector) if pod.ready]
            spread = service.text("spec.sessionAffinity") in ("", "None")
            headless = service.text("spec.clusterIP") == "None"
            if len(pods) > 1 and spread and not headless and _serves_mcp(service, pods[0]):
                found = None if _keeps(cluster, service, pods) else _lost(cluster, service, pods)
                if found and cluster.owner_of(pods[0]) not in seen:
                    seen.add(cluster.owner_of(pods[0]))
                    yield cls._of(cluster, service, pods, found)

    @classmethod
    def _of(
        cls, cluster: Snapshot, service: Object, pods: list[Pod], found: list[tuple[Pod, Evidence]]
    ) -> Self:
        owner = cluster.owner_of(pods[0])
        one_each = {pod.ref: told for pod, told in found}
        affinity = service.text("spec.sessionAffinity") or "None"
        return cls(
            subject=service.ref,
            severity="warning",
            evidence=(
                seen_object(service.ref, "spec.sessionAffinity", affinity),
                *list(one_each.values())[:4],
            ),
            hurts=(service.ref, owner, *(pod.ref for pod in pods)),
            service=service,
            owner=owner,
            replicas=len(pods),
            lines=len(found),
            routed=tuple(item.name for item in _routes(cluster, service)),
        )

    def summary(self) -> str:
        """How many sessions were lost between how many replicas."""
        what = f"{counted(self.lines, 'request')} of MCP sessions reached one of {self.replicas} replicas"
        return f"{what} of {self.owner} that did not know the session: the Service has no session affinity"

    def explain(self) -> list[str]:
        """From the session in memory to the failed call."""
        return [
            "the server keeps each MCP session in the memory of the replica that opened it",
            f"the Service `{self.service.name}` sends each connection to any of {self.replicas} replicas",
            "a request that reaches another one is refused, so tool calls fail now and then",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """One client, one replica."""
        path = "spec.sessionAffinity"
        why = "a session's requests have to reach the replica that opened it"
        edit = Edit(path=path, before=self.service.value(path), after="ClientIP")
        return [Change(target=self.service.ref, edits=(edit,), why=why)]

    def advice(self) -> list[str]:
        """What lasts longer than affinity."""
        found = [
            "stateless mode keeps no sessions and needs no affinity (FastMCP: `stateless_http=True`)",
            "affinity by address ends with the replica: clients must open a new session on 404",
        ]
        if self.routed:
            names = ", ".join(self.routed)
            found.append(f"a gateway may go round the Service ({names}): hash on `Mcp-Session-Id` there")
        return found


def _serves_mcp(service: Object, pod: Pod) -> bool:
    """Whether a Service is one of MCP servers, by its name or what its pods are called and run."""
    words = [service.name, pod.name, *pod.labels.values()]
    for container in pod.spec.containers:
        words += [container.name, container.image, *container.command, *container.args]
        words += [variable.name for variable in container.env]
    return any(_MCP.search(word) for word in words)


def _keeps(cluster: Snapshot, service: Object, pods: list[Pod]) -> bool:
    """Whether there is nothing to lose: the server is stateless, or what is in front of it hashes."""
    for container in pods[0].spec.containers:
        env = cluster.env_of(pods[0], container)
        told = any(_STATELESS.search(name) and value.lower() not in _NO for name, value in env.items())
        words = [*container.command, *container.args]
        if told or any(_STATELESS.search(word) and "false" not in word.lower() for word in words):
            return True
    for rule in cluster.all("DestinationRule"):
        host = rule.text("spec.host").split(".")[0]
        hashed = rule.table("spec.trafficPolicy.loadBalancer.consistentHash")
        if host == service.name and hashed and rule.namespace == service.namespace:
            return True
    return any(
        any(note in item.annotations for note in _STICKY)
        or any(isinstance(r, dict) and r.get("sessionPersistence") for r in item.items("spec.rules"))
        for item in _routes(cluster, service)
    )


def _routes(cluster: Snapshot, service: Object) -> Iterator[Object]:
    """The routes and ingresses of a namespace that lead to a Service."""
    for kind in ("HTTPRoute", "Ingress"):
        for item in cluster.all(kind, service.namespace):
            if re.search(rf"'name': '{re.escape(service.name)}'", str(item.items("spec.rules"))):
                yield item


def _lost(cluster: Snapshot, service: Object, pods: list[Pod]) -> list[tuple[Pod, Evidence]] | None:
    """The requests that met an unknown session, in the logs of servers or of clients; None for too few."""
    logs = [
        (pod, c.name, log) for pod in pods for c in pod.spec.containers if (log := cluster.log(pod, c.name))
    ]
    own = [(pod, told) for pod, name, log in logs for told in _told(pod, name, log)]
    several = len({pod.ref for pod, _ in own}) > 1 or len({pod.ref for pod, _, _ in logs}) == 1
    if len(own) >= REPEATED and several:
        return own
    host = re.compile(rf"\b{re.escape(service.name)}(?:\.{re.escape(service.namespace)})?(?:[.:/]|$)")
    for pod in cluster.pods:
        names = " ".join(v.value for c in pod.spec.containers for v in c.env)
        words = " ".join(w for c in pod.spec.containers for w in (*c.command, *c.args))
        near = pod.namespace == service.namespace or f"{service.name}.{service.namespace}" in names
        if pod in pods or not near or not host.search(f"{names} {words}"):
            continue
        for container in pod.spec.containers:
            log = cluster.log(pod, container.name)
            told = [(pod, seen) for seen in _told(pod, container.name, log)]
            if len(told) >= REPEATED:
                return told
    return None


def _told(pod: Pod, container: str, log: Log | None) -> list[Evidence]:
    """The lines of a log that tell of lost sessions; of an access log only those after one that went well."""
    if log is None:
        return []
    said = list(log.find(LOST))
    if not said:
        well = [line.number for line, _ in log.find(WELL)]
        refused = list(log.find(REFUSED))
        said = [(line, m) for line, m in refused if well and min(well) < line.number]
    return [seen_log(pod.ref, container, line.number, line.text) for line, _ in said]
