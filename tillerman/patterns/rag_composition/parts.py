"""The parts of a RAG service: who calls a vector database or an embedding server, and with which model."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from tillerman.cluster.logs import Line
from tillerman.cluster.model import Container, Pod, Ref
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.stateful_service.stores import clients, stores

#: Variables in which programs keep the name of their embedding model.
EMBEDDING = re.compile(r"(?i)^(?=.*embed)(?=.*model)(?!.*(?:url|key|token|host)).*$")


class Said(NamedTuple):
    """Lines of one container that say the same, the last one last, and the match in it."""

    pod: Pod
    container: str
    lines: tuple[Line, ...]
    found: re.Match[str]


def saying(cluster: Snapshot, pattern: str) -> Iterator[tuple[Ref, Said]]:
    """The clients of vector databases whose logs say something, and still said it in their later half.

    One for each owner; a database itself is only heard where no client of it says the same.
    """
    heard: set[Ref] = set()
    for store in stores(cluster):
        spoke = False
        for pod in (*(p for p in clients(cluster, store) if p is not store.pod), store.pod):
            owner = cluster.owner_of(pod)
            if pod is store.pod and spoke:
                continue
            said = _said(cluster, pod, pattern)
            spoke = spoke or said is not None
            if said and owner not in heard:
                heard.add(owner)
                yield owner, said


def _said(cluster: Snapshot, pod: Pod, pattern: str) -> Said | None:
    for container in pod.spec.containers:
        status = pod.status_of(container.name)
        logs = [cluster.log(pod, container.name)]
        if status and status.restart_count:
            logs.append(cluster.log(pod, container.name, previous=True))
        for log in (one for one in logs if one):
            found = list(log.find(pattern))
            if found and found[-1][0].number * 2 >= log.lines[-1].number:
                return Said(pod, container.name, tuple(line for line, _ in found), found[-1][1])
    return None


def embedding_model(cluster: Snapshot, pod: Pod, container: Container) -> tuple[str, str] | None:
    """The variable that names a container's embedding model, and the name; None when none does."""
    env = cluster.env_of(pod, container)
    return next(((name, value) for name, value in env.items() if EMBEDDING.match(name) and value), None)
