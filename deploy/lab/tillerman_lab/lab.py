"""The lab: a control plane with KWOK's nodes, KServe's controllers and an estate; or the bare plane."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import estate, kserve, stages
from .addresses import KUBELET_PORT, LOOPBACK, POD_RANGE
from .build import binary
from .control_plane import READY_WITHIN_S, ControlPlane
from .errors import LabError
from .places import MANIFESTS
from .ports import Ports, free_block, listens
from .processes import Processes
from .runs import run_folder
from .template import copy_template

SPEED = 60.0
"""Seconds in the lab per second of the clock: a model that takes five minutes to load takes five seconds."""
LEASE_S = 5
"""A restarted KWOK waits for the leases of its predecessor to expire."""
PLAYED = {
    "gateway.networking.k8s.io/v1": ("gateways", "httproutes"),
    "inference.networking.k8s.io/v1": ("inferencepools",),
}
Say = Callable[[str], None]


def quiet(text: str) -> None:
    """Say nothing."""


@contextmanager
def running_lab(
    base: int, exact: bool = False, speed: float = SPEED, with_estate: bool = True, say: Say = quiet
) -> Iterator[ControlPlane]:
    """A whole lab, running until the end of the `with` block.

    Its ports are the first free block from `base` on, or with `exact` the one at `base` and no other.
    Raises `NotBuilt` when the lab is not built.
    """
    with _plane(base, "kserve", exact=exact, speed=speed, say=say) as plane:
        plane.start()
        say("the API server is ready")
        plane.start_controllers()
        kserve.start(plane)
        _start_kwok(plane)
        say("scheduler, controllers, KServe and KWOK are up")
        if with_estate:
            estate.create(plane.admin)
            say("nodes and models are created; the models load now")
        yield plane


@contextmanager
def running_control_plane(
    base: int, template: str = "crds", recordings: Path | None = None, say: Say = quiet
) -> Iterator[ControlPlane]:
    """The API server and its etcd alone, for objects that were recorded elsewhere.

    `template` is `crds` for the published CRDs or empty for none (kinds nobody defined are made as they are
    loaded). With `recordings`, a snapshot directory, its logs and scrapes are answered.
    """
    with _plane(base, template, recordings=recordings, say=say) as plane:
        plane.start(as_recorded=True)
        yield plane


@contextmanager
def _plane(
    base: int,
    template: str,
    exact: bool = False,
    speed: float = SPEED,
    recordings: Path | None = None,
    say: Say = quiet,
) -> Iterator[ControlPlane]:
    with run_folder() as folder:
        if template:
            copy_template(template, folder, base, say)
        ports = Ports(base) if exact else free_block(base)
        if busy := ports.busy():
            raise LabError(f"port {busy[0]} is in use", hint="name another `--ports BASE`")
        processes = Processes(folder)
        plane = ControlPlane(
            folder=folder, ports=ports, processes=processes, speed=speed, recordings=recordings
        )
        try:
            yield plane
        finally:
            plane.stop()


def _start_kwok(plane: ControlPlane) -> None:
    """Start KWOK once the kinds that it plays are published: without them it ends. Wait until it plays."""
    folder = plane.folder / "stages"
    folder.mkdir()
    files = {
        "pods.yaml": stages.written(stages.pod_stages(plane.speed)),
        "nodes.yaml": (MANIFESTS / "nodes.yaml").read_text(),
        "gateway.yaml": (MANIFESTS / "gateway.yaml").read_text(),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    plane.processes.wait_until("the API server's OpenAPI paths", lambda: _published(plane), READY_WITHIN_S)
    argv = [
        str(binary("kwok")),
        f"--kubeconfig={plane.kubeconfig}",
        *(f"--config={folder / name}" for name in files),
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        f"--node-ip={LOOPBACK}",
        f"--node-port={KUBELET_PORT}",
        f"--server-address={LOOPBACK}:{plane.ports.kwok}",
        "--tls-cert-file=pki/apiserver.crt",
        "--tls-private-key-file=pki/apiserver.key",
        f"--cidr={POD_RANGE}",
        f"--node-lease-duration-seconds={LEASE_S}",
    ]
    plane.processes.start("kwok", argv)
    plane.processes.wait_until("KWOK", lambda: listens(plane.ports.kwok), READY_WITHIN_S)


def _published(plane: ControlPlane) -> bool:
    """Whether OpenAPI has the kinds; the path of their group is there as soon as it has any of its kinds."""
    for group, plurals in PLAYED.items():
        answer = plane.admin.request("GET", f"/openapi/v3/apis/{group}")
        if not answer.is_success or not all(f"/{plural}/{{name}}" in answer.text for plural in plurals):
            return False
    return True
