"""Writing recorded objects below the API server: it lets nobody set uids, generations and times."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx

from .addresses import LOOPBACK
from .crds import CRD
from .load import Loaded

PREFIX = b"/registry/"
PAGE = 500
NOT_STORED = ("resourceVersion", "selfLink")
Object = dict[str, Any]


def restore(port: int, loaded: Loaded) -> None:
    """Replace what was stored for each loaded object by the object exactly as it was recorded.

    Where an object is stored is not guessed: the server has just stored it, and its new uid finds it. Needs
    an API server that stores JSON. Watches see one more change, as with any other write.
    """
    with httpx.Client(base_url=f"http://{LOOPBACK}:{port}", trust_env=False, timeout=30) as http:
        stored = dict(_stored(http))
        for recorded, uid in loaded.created:
            if uid in stored and recorded["kind"] != CRD:
                key, made = stored[uid]
                value = json.dumps(_as_recorded(made, recorded)).encode()
                _call(http, "put", {"key": _text(key), "value": _text(value)})


def _as_recorded(made: Object, recorded: Object) -> Object:
    """The recorded object, with what its metadata does not say taken from the object that the server made."""
    meta = {key: value for key, value in made["metadata"].items() if key != "managedFields"}
    meta |= {key: value for key, value in recorded["metadata"].items() if key not in NOT_STORED}
    return {**recorded, "metadata": meta}


def _stored(http: httpx.Client) -> Iterator[tuple[str, tuple[bytes, Object]]]:
    """The uid, the key and the object, of everything that is stored as JSON."""
    start, end = PREFIX, PREFIX[:-1] + b"0"
    while True:
        page = _call(http, "range", {"key": _text(start), "range_end": _text(end), "limit": PAGE})
        found = page.get("kvs", [])
        for each in found:
            value = base64.b64decode(each["value"])
            if value.startswith(b"{"):
                made = json.loads(value)
                yield made["metadata"].get("uid", ""), (base64.b64decode(each["key"]), made)
        if not page.get("more"):
            return
        start = base64.b64decode(found[-1]["key"]) + b"\0"


def _call(http: httpx.Client, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(f"/v3/kv/{verb}", json=body)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
