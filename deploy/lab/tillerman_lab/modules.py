"""The Go modules beside go.mod: KServe, which cannot share it, and those that only carry CRDs."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module version, the checksum its zip must have, and the files in it that hold CRDs."""

    path: str
    version: str
    sum: str
    crds: tuple[str, ...]


KSERVE = Module(
    path="github.com/kserve/kserve",
    version="v0.20.0",
    sum="h1:Bs7HxmGV4KFqqptDcWseKv+mwD4YOYHJWcuVgPG2Gug=",
    crds=("config/crd/full/*.yaml", "config/crd/full/*/serving.kserve.io_*.yaml"),
)
CRD_MODULES = (
    KSERVE,
    Module(
        path="sigs.k8s.io/gateway-api",
        version="v1.6.1",
        sum="h1:mock6phZbI6rvZerwrVNk7hVNymQgHo+6sJ81Ia7ftY=",
        crds=("config/crd/standard/*.yaml",),
    ),
    Module(
        path="sigs.k8s.io/gateway-api-inference-extension",
        version="v1.5.0",
        sum="h1:w9Awt60cmI1vM7Y6N81h8wDCBP0WkmxpdI7GKY0v070=",
        crds=("config/crd/bases/*.yaml",),
    ),
    Module(
        path="github.com/kedacore/keda/v2",
        version="v2.20.2",
        sum="h1:SR60v8uIcelbveS8n/1jcl8tLdBBIbHMxmdOHw8tKqA=",
        crds=("config/crd/bases/keda.sh_*.yaml",),
    ),
    Module(
        path="sigs.k8s.io/lws",
        version="v0.8.0",
        sum="h1:DdhJ8QabwTfWgbgaHH2gdf8twliioHaoSfmDXRYEVU0=",
        crds=("config/crd/bases/*.yaml",),
    ),
    Module(
        path="sigs.k8s.io/kueue",
        version="v0.17.0",
        sum="h1:7hzb38M4eKGzYW+CFv2s1L+swzzacUCHOCXxZmAV90I=",
        crds=("config/components/crd/bases/*.yaml",),
    ),
    Module(
        path="sigs.k8s.io/node-feature-discovery",
        version="v0.19.0",
        sum="h1:9CYm16vjSIbNO5Z1Y67rcrfy51YWmy3+6wjiWzJbrC4=",
        crds=("deployment/base/nfd-crds/nfd-api-crds.yaml",),
    ),
)


def download(go: str, module: Module) -> Path:
    """The folder of a module in Go's module cache, downloaded if it is not there.

    Raises `LabError` when it cannot be had or is not the one that was pinned.
    """
    wanted = f"{module.path}@{module.version}"
    done = subprocess.run(
        [go, "mod", "download", "-json", wanted],
        cwd=Path(go).anchor,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, str] = json.loads(done.stdout)
    except json.JSONDecodeError:
        answer = {"Error": done.stderr.strip()}
    if answer.get("Error") or done.returncode:
        raise LabError(f"`go mod download {wanted}` failed: {answer.get('Error') or done.stderr.strip()}")
    if answer["Sum"] != module.sum:
        raise LabError(f"{wanted} has the checksum {answer['Sum']}, not the pinned {module.sum}")
    return Path(answer["Dir"])
