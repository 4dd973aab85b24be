"""Clusters to start from: what takes long is done once, kept in the cache, and copied for each lab.

`crds` has the CRDs and the roles of the lab's identities; `kserve` has KServe's own objects besides. A
template is a stopped etcd's data with the certificates and tokens that belong to it.
"""

import fcntl
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from . import crds, identities, kserve
from .build import is_built
from .client import Client
from .control_plane import ControlPlane
from .errors import NotBuilt
from .places import bin_folder, cache_root, crds_file, fingerprint
from .ports import free_block
from .processes import Processes
from .waiting import wait_for

Say = Callable[[str], None]
PARTS = ("etcd", "pki", "tokens.csv")
MADE_FROM = ("addresses.py", "crds.py", "identities.py", "kserve.py", "template.py")
CERTIFICATE_DAYS = 300
"""The API server's own certificate is valid for a year; a template is made anew well before."""
ESTABLISHED_WITHIN_S = 120
KEPT = 3
"""Versions whose templates stay, at 160 MB each: several checkouts may share the cache."""


def copy_template(name: str, folder: Path, base: int, say: Say) -> None:
    """Put a template's files into a new lab's folder, making the template first when there is none.

    `base` is where the ports for making it are looked for. Raises `NotBuilt` when the lab is not built.
    """
    with _locked():
        _copy(_template(name, base, say), folder)


def _template(name: str, base: int, say: Say) -> Path:
    found = cache_root() / f"template-{_key()}" / name
    if found.is_dir() and not _is_old(found):
        return found
    if not is_built():
        raise NotBuilt("the lab is not built", hint="run `make lab-build` (once, about a quarter of an hour)")
    shutil.rmtree(found, ignore_errors=True)
    started = time.monotonic()
    say(f"making the template `{name}`, once")
    with tempfile.TemporaryDirectory(prefix="tillerman-lab-") as temporary:
        folder = Path(temporary)
        if name != "crds":
            _copy(_template("crds", base, say), folder)
        _make(name, folder, base)
        half = found.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True, mode=0o700)
        for part in PARTS:
            shutil.move(folder / part, half / part)
        half.rename(found)
    _forget_all_but_newest()
    say(f"the template `{name}` took {time.monotonic() - started:.0f} s")
    return found


def _copy(source: Path, target: Path) -> None:
    for part in PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part)
        else:
            shutil.copy2(source / part, target / part)


def _forget_all_but_newest() -> None:
    """Remove the templates of versions long gone; no running lab uses one, each has its copy."""
    found = sorted(cache_root().glob("template-*"), key=lambda path: path.stat().st_mtime)
    for path in found[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def _make(name: str, folder: Path, base: int) -> None:
    """Fill a cluster in `folder` and stop it."""
    with Processes(folder) as processes:
        plane = ControlPlane(folder=folder, ports=free_block(base), processes=processes)
        plane.start()
        try:
            if name == "crds":
                _apply_crds(plane.admin)
            else:
                kserve.install(plane.admin, plane.ca)
        finally:
            plane.stop()


def _apply_crds(client: Client) -> None:
    """Apply all CRDs, several at a time, and wait until they are served; then the roles that name them."""
    items = json.loads(crds_file().read_text())["items"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client.ensure, items))

    def established() -> bool:
        return all(map(_is_established, client.list("apiextensions.k8s.io/v1", crds.CRD)))

    wait_for("the CRDs being served", established, ESTABLISHED_WITHIN_S)
    for role in identities.roles(crds.served_kinds(items)):
        client.ensure(role)


def _is_established(crd: dict[str, dict[str, list[dict[str, str]]]]) -> bool:
    conditions = crd.get("status", {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _key() -> str:
    """A template belongs to the programs and CRDs it was made from, and to the code that made it."""
    made_from = fingerprint(*(f"tillerman_lab/{name}" for name in MADE_FROM))
    return f"{bin_folder().name.removeprefix('bin-')}-{made_from}"


def _is_old(template: Path) -> bool:
    return time.time() - (template / "pki" / "apiserver.crt").stat().st_mtime > CERTIFICATE_DAYS * 86_400


@contextmanager
def _locked() -> Iterator[None]:
    """One lab at a time makes or copies a template; several test workers may start at once."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
