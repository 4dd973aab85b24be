"""Vector databases among the pods: where each writes, what is mounted there, and how much it holds."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tillerman.cluster.model import Container, Pod, VolumeMount
from tillerman.cluster.snapshot import Snapshot

#: A pod that is made this much later than its workload is not its first.
MOVED_S = 3600
#: Volumes that outlive their pod. A generic ephemeral volume goes with it.
_LASTING = ("persistentVolumeClaim", "hostPath", "nfs", "csi", "iscsi", "fc", "cephfs", "local")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One database: how its image is called, where it writes, the variables that move that, its own counts.

    `cache` says that many run it to forget.

    Sources: the images' own configuration: Qdrant 1.16, Milvus 2.6, Weaviate 1.34, Chroma 1.5 and 0.6,
    pgvector on PostgreSQL 17, Redis Stack 7.4, OpenSearch 3.
    """

    name: str
    image: str
    path: str
    variables: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    only: str = ""
    cache: bool = False


KINDS = (
    Kind(
        name="Qdrant",
        image=r"(?:^|/)qdrant(?:-unprivileged)?(?:[:@]|$)",
        path="/qdrant/storage",
        variables=("QDRANT__STORAGE__STORAGE_PATH",),
        counts=("collections_vector_total", "collection_points", "collections_total"),
    ),
    Kind(
        name="Milvus",
        image=r"(?:^|/)milvus(?:[:@]|$)",
        path="/var/lib/milvus",
        counts=("milvus_rootcoord_collection_num", "milvus_datacoord_collection_num"),
        only="standalone",
    ),
    Kind(
        name="Weaviate",
        image=r"(?:^|/)weaviate(?:[:@]|$)",
        path="/var/lib/weaviate",
        variables=("PERSISTENCE_DATA_PATH",),
        counts=("object_count",),
    ),
    Kind(
        name="Chroma", image=r"(?:^|/)chroma:v?0\.", path="/chroma/chroma", variables=("PERSIST_DIRECTORY",)
    ),
    Kind(name="Chroma", image=r"(?:^|/)chroma(?:[:@]|$)", path="/data", variables=("CHROMA_PERSIST_PATH",)),
    Kind(
        name="pgvector",
        image=r"(?:^|/)pgvector(?:-rs|scale)?(?:[:@]|$)",
        path="/var/lib/postgresql/data",
        variables=("PGDATA",),
    ),
    Kind(name="Redis Stack", image=r"(?:^|/)redis-stack(?:-server)?(?:[:@]|$)", path="/data", cache=True),
    Kind(name="OpenSearch", image=r"(?:^|/)opensearch(?:[:@]|$)", path="/usr/share/opensearch/data"),
)


@dataclass(frozen=True, kw_only=True)
class Store:
    """The container of a pod that runs a vector database, and the folder it writes to.

    `kept` says what is there: a lasting volume, an emptyDir that goes with the pod, or the container's layer
    that goes with the container.
    """

    pod: Pod
    container: Container
    kind: Kind
    path: str
    kept: Literal["volume", "emptyDir", "layer"]
    mount: VolumeMount | None


def stores(cluster: Snapshot) -> tuple[Store, ...]:
    """The vector databases among the unfinished pods."""
    return cluster.once(_stores)


def _stores(cluster: Snapshot) -> tuple[Store, ...]:
    return tuple(
        _store(cluster, pod, container, kind)
        for pod in cluster.pods
        for container in (() if pod.finished else pod.spec.containers)
        if (kind := _kind(container.image, (*container.command, *container.args)))
    )


@lru_cache(maxsize=4096)
def _kind(image: str, command: tuple[str, ...]) -> Kind | None:
    words = " ".join(command)
    found = next((kind for kind in KINDS if re.search(kind.image, image)), None)
    return found if found and (not words or found.only in words) else None


def _store(cluster: Snapshot, pod: Pod, container: Container, kind: Kind) -> Store:
    env = cluster.env_of(pod, container)
    told = next((env[name] for name in kind.variables if env.get(name)), "")
    path = told if told.startswith("/") else kind.path
    over = [m for m in container.volume_mounts if _covers(m.mount_path, path) or _covers(path, m.mount_path)]
    mount = max(over, key=lambda m: len(m.mount_path), default=None)
    volume = _volume(pod, mount.name) if mount else {}
    kept: Literal["volume", "emptyDir", "layer"] = "layer"
    if mount:
        kept = "volume" if any(kind_ in volume for kind_ in _LASTING) else "emptyDir"
    return Store(pod=pod, container=container, kind=kind, path=path, kept=kept, mount=mount)


def _covers(folder: str, path: str) -> bool:
    return posixpath.normpath(path) == posixpath.normpath(folder) or path.startswith(folder.rstrip("/") + "/")


def _volume(pod: Pod, name: str) -> dict[str, object]:
    return next((dict(v) for v in pod.spec.volumes if v.get("name") == name), {})


def elsewhere(store: Store) -> VolumeMount | None:
    """The one claim that is mounted, but not where the database writes."""
    found = [
        m
        for m in store.container.volume_mounts
        if "persistentVolumeClaim" in _volume(store.pod, m.name) and "snapshot" not in m.mount_path
    ]
    return found[0] if len(found) == 1 and store.kept == "layer" else None


def count_of(cluster: Snapshot, store: Store) -> tuple[float | None, float | None]:
    """What a database counted of its own contents in the first and in the newest scrape."""
    series = cluster.series(store.pod)
    for name in store.kind.counts:
        values = series.values(name)
        if values:
            return values[0], values[-1]
    return None, None


def moved_s(cluster: Snapshot, store: Store) -> float | None:
    """Seconds since a database lost what it held outside of volumes; None when it never did."""
    container = store.container.name if store.kept == "layer" else ""
    return anew_s(cluster, store.pod, container)


def anew_s(cluster: Snapshot, pod: Pod, container: str = "") -> float | None:
    """Seconds since a container began with an empty layer, or else its pod was made; None for the first time.

    Without a container only the pod counts: an emptyDir survives a restart.
    """
    status = pod.status_of(container)
    running = cluster.age_s(status.state.running.started_at) if status and status.state.running else None
    if status and status.restart_count and running is not None:
        return running
    workload = cluster.workload_of(pod)
    born = cluster.age_s(workload.metadata.creation_timestamp) if workload else None
    made = cluster.age_s(pod.metadata.creation_timestamp)
    return made if born is not None and made is not None and born - made > MOVED_S else None


def clients(cluster: Snapshot, store: Store) -> Iterator[Pod]:
    """The database itself, the pods of its namespace, and those that name one of its Services."""
    space = store.pod.namespace
    services = [
        item.name
        for item in cluster.all("Service", space)
        if (selector := item.table("spec.selector"))
        and all(store.pod.labels.get(key) == value for key, value in selector.items())
    ]
    named = re.compile(
        "|".join(rf"\b{re.escape(name)}\.{re.escape(space)}\b" for name in services) or r"(?!)"
    )
    yield store.pod
    for pod in cluster.pods:
        if pod is store.pod or (pod.finished and pod.status.phase == "Succeeded"):
            continue
        env = " ".join(v.value for c in pod.spec.containers for v in c.env)
        if pod.namespace == space or named.search(env):
            yield pod
