"""Where the lab keeps things: all of it outside the source tree."""

import hashlib
import os
import re
from pathlib import Path

from .modules import CRD_MODULES

HOME = Path(__file__).parents[1]
MANIFESTS = Path(__file__).parent / "manifests"


def cache_root() -> Path:
    """The lab's cache folder: `$TILLERMAN_LAB_CACHE`, else the user's cache folder."""
    named = os.environ.get("TILLERMAN_LAB_CACHE")
    if named:
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tillerman" / "lab"


def bin_folder() -> Path:
    """The folder of the built programs; its name changes when a pinned version does."""
    return cache_root() / f"bin-{fingerprint('go.mod', 'go.sum', text=str(CRD_MODULES))}"


def crds_file() -> Path:
    """The CRDs of all pinned modules, without their descriptions: one JSON List."""
    return bin_folder() / "crds.json"


def kserve_folder() -> Path:
    """KServe's own `config` folder (runtimes, presets, webhooks), copied out of its module."""
    return bin_folder() / "kserve-config"


def fingerprint(*names: str, text: str = "") -> str:
    """Twelve hexadecimal digits over a text and the content of files of the lab, named from its folder."""
    digest = hashlib.sha256(text.encode())
    for name in names:
        digest.update((HOME / name).read_bytes())
    return digest.hexdigest()[:12]


def required_version(module: str) -> str:
    """The version of a module that go.mod pins, with its `v`. Raises `KeyError` when it does not."""
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", (HOME / "go.mod").read_text(), re.M)
    if not found:
        raise KeyError(module)
    return found.group(1)
