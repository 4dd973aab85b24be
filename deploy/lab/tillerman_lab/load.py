"""Putting recorded objects into an API server, with their status: a cluster on disk becomes a live one."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from typing import Any

from .addresses import SERVICE_RANGE
from .client import Client, Object
from .crds import CRD, permissive, stripped
from .errors import ApiError
from .waiting import wait_for

SERVER_OWNED = (
    "uid",
    "resourceVersion",
    "managedFields",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
)
RANKS = {"Namespace": 0, CRD: 1, "PersistentVolume": 3, "EndpointSlice": 3, "Endpoints": 3, "Event": 4}
SERVED_WITHIN_S = 30
LABEL = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True)
class Refusal:
    """An object that the API server did not take, and what it said."""

    kind: str
    namespace: str
    name: str
    message: str


@dataclass
class Loaded:
    """What became of the objects: the recorded ones with their new uids, and those that were refused."""

    created: list[tuple[Object, str]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    @property
    def uids(self) -> dict[str, str]:
        """The uids given at creation, by recorded ones."""
        return {old["metadata"]["uid"]: new for old, new in self.created if old["metadata"].get("uid")}


def load_objects(client: Client, objects: Iterable[Object], with_status: bool = True) -> Loaded:
    """Create objects of any kind as they were recorded, `kind: List` included, then set their status.

    Namespaces that nobody recorded are made first, and CRDs that accept anything for kinds that the server
    does not know. Owners come before what they own, and every recorded uid in an object (of its owners, of an
    event's subject) becomes the new one. An object that is there already is replaced. What the server refuses
    is in the answer and does not stop the rest. What HTTP cannot set is lost: uid, generation, the times of
    creation and deletion; `ControlPlane.load` keeps those too.
    """
    ordered = _ordered([_with_meta(each) for each in _flat(objects)])
    loaded, uids = Loaded(), dict[str, str]()
    _serve_unknown_kinds(client, ordered)
    for each in _missing_namespaces(ordered):
        client.ensure(each)
    for recorded in ordered:
        meta = recorded["metadata"]
        try:
            made = client.ensure(creatable(_renamed(recorded, uids)))
            if with_status:
                _set_status(client, made, _renamed(recorded.get("status"), uids))
            loaded.created.append((recorded, made["metadata"]["uid"]))
            if meta.get("uid"):
                uids[meta["uid"]] = made["metadata"]["uid"]
        except ApiError as error:
            name = meta.get("name", "")
            loaded.refused.append(Refusal(recorded["kind"], meta.get("namespace", ""), name, str(error)))
    return loaded


def _set_status(client: Client, made: Object, status: Any) -> None:
    resource = client.resource(made["apiVersion"], made["kind"])
    if status and "status" in resource.subresources and made["kind"] != CRD:
        client.call("PUT", f"{client.path_of(made)}/status", {**made, "status": status})


def creatable(recorded: Object) -> Object:
    """A recorded object without what only the server may set, so that it can be created again.

    Left out as well: label values that no server takes, which hand-made records have.
    """
    if recorded["kind"] == CRD:
        return stripped(recorded)
    meta = {key: value for key, value in recorded["metadata"].items() if key not in SERVER_OWNED}
    if meta.get("labels"):
        meta["labels"] = {key: value for key, value in meta["labels"].items() if LABEL.fullmatch(str(value))}
    wanted = {**recorded, "metadata": meta}
    if recorded["apiVersion"] == "events.k8s.io/v1":
        return _core_event(wanted)
    adapt = _ADAPTED.get(recorded["kind"])
    return {**wanted, "spec": adapt(wanted["spec"])} if adapt and "spec" in wanted else wanted


def _core_event(event: Object) -> Object:
    """The event in the older form: in the newer one, only who reports it may say how often and since when."""
    return {_CORE_EVENT.get(key, key): value for key, value in event.items()} | {"apiVersion": "v1"}


def _service(spec: Object) -> Object:
    """Addresses that do not belong to this cluster's range are given anew."""
    address = spec.get("clusterIP", "None")
    if address in ("None", "") or ip_address(address) in ip_network(SERVICE_RANGE):
        return spec
    return {
        key: value
        for key, value in spec.items()
        if key not in ("clusterIP", "clusterIPs", "healthCheckNodePort")
    }


def _job(spec: Object) -> Object:
    """A selector that the server made names the old uid; it makes a new one."""
    if spec.get("manualSelector"):
        return spec
    template = dict(spec["template"])
    meta = dict(template.get("metadata") or {})
    meta["labels"] = {k: v for k, v in (meta.get("labels") or {}).items() if not k.endswith("controller-uid")}
    return {**{k: v for k, v in spec.items() if k != "selector"}, "template": {**template, "metadata": meta}}


def _pod(spec: Object) -> Object:
    return {key: value for key, value in spec.items() if key != "ephemeralContainers"}


_CORE_EVENT = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_ADAPTED = {"Service": _service, "Job": _job, "Pod": _pod}


def _flat(objects: Iterable[Object]) -> Iterator[Object]:
    for each in objects:
        if each.get("kind", "").endswith("List") and isinstance(each.get("items"), list):
            yield from _flat(each["items"])
        elif each.get("kind") and each.get("apiVersion"):
            yield each


def _with_meta(thing: Object) -> Object:
    return {**thing, "metadata": dict(thing.get("metadata") or {})}


def _ordered(objects: list[Object]) -> list[Object]:
    """Owners before what they own; within that, by rank of kind and as given."""
    by_uid = {each["metadata"]["uid"]: each for each in objects if each["metadata"].get("uid")}
    done: set[int] = set()
    found: list[Object] = []

    def visit(thing: Object) -> None:
        if id(thing) in done:
            return
        done.add(id(thing))
        for reference in thing["metadata"].get("ownerReferences") or []:
            if owner := by_uid.get(reference.get("uid", "")):
                visit(owner)
        found.append(thing)

    for each in sorted(objects, key=lambda thing: RANKS.get(thing["kind"], 2)):
        visit(each)
    return found


def _renamed(node: Any, uids: dict[str, str]) -> Any:
    """The same value with every text that is a recorded uid replaced by the new one."""
    if isinstance(node, dict):
        return {key: _renamed(value, uids) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value, uids) for value in node]
    return uids.get(node, node) if isinstance(node, str) else node


def _missing_namespaces(objects: list[Object]) -> list[Object]:
    recorded = {each["metadata"].get("name") for each in objects if each["kind"] == "Namespace"}
    wanted = {each["metadata"].get("namespace") for each in objects} - {None, ""} - recorded
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in sorted(map(str, wanted))
    ]


def _serve_unknown_kinds(client: Client, objects: list[Object]) -> None:
    """Make a CRD that accepts anything for each kind that is neither served nor defined among the objects."""
    defined = {
        (each["spec"]["group"], each["spec"]["names"]["kind"]): each
        for each in objects
        if each["kind"] == CRD
    }
    for each in list(defined.values()):
        client.ensure(creatable(each))
    kinds = {(each["apiVersion"], each["kind"]): bool(each["metadata"].get("namespace")) for each in objects}
    for (api_version, kind), namespaced in kinds.items():
        group, _, version = api_version.rpartition("/")
        if "." in group and not _is_served(client, api_version, kind):
            if (group, kind) not in defined:
                client.ensure(permissive(group, version, kind, namespaced))
            served = partial(_is_served, client, api_version, kind)
            wait_for(f"`{kind}` of `{api_version}` being served", served, SERVED_WITHIN_S)


def _is_served(client: Client, api_version: str, kind: str) -> bool:
    try:
        client.resource(api_version, kind)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return False
    return True
