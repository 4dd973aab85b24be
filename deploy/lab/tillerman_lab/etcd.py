"""Writing recorded objects below the API server: it lets nobody set uids, generations and times."""

import base64
import json
from typing import Any

import httpx

from .addresses import LOOPBACK
from .load import Loaded

PREFIX = b"/registry/"
PAGE = 500
NOT_STORED = ("resourceVersion", "selfLink")


def restore(port: int, loaded: Loaded) -> None:
    """Replace what was stored for each loaded object by the object exactly as it was recorded.

    Where an object is stored is not guessed: the server has just stored it, and its new uid finds it. Needs
    an API server that stores JSON. Watches see one more change, as with any other write.
    """
    with httpx.Client(base_url=f"http://{LOOPBACK}:{port}", trust_env=False, timeout=30) as http:
        keys = _keys_by_uid(http)
        for recorded, uid in loaded.created:
            if uid in keys and recorded["metadata"].get("uid"):
                meta = {key: value for key, value in recorded["metadata"].items() if key not in NOT_STORED}
                value = json.dumps({**recorded, "metadata": meta}).encode()
                _call(http, "put", {"key": _text(keys[uid]), "value": _text(value)})


def _keys_by_uid(http: httpx.Client) -> dict[str, bytes]:
    """The key of every stored JSON object, by its uid."""
    found: dict[str, bytes] = {}
    start, end = PREFIX, PREFIX[:-1] + b"0"
    while True:
        page = _call(http, "range", {"key": _text(start), "range_end": _text(end), "limit": PAGE})
        stored = page.get("kvs", [])
        for each in stored:
            key, value = base64.b64decode(each["key"]), base64.b64decode(each["value"])
            if value.startswith(b"{"):
                found[json.loads(value)["metadata"].get("uid", "")] = key
        if not page.get("more"):
            return found
        start = base64.b64decode(stored[-1]["key"]) + b"\0"


def _call(http: httpx.Client, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(f"/v3/kv/{verb}", json=body)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
