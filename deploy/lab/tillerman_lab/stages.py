"""KWOK's stages: the life of a model server, decided by the pod's own spec and by what its model needs.

A pod is in one *state* (new, staging, waits, loading, ready, ...) and its spec has one *verdict* (ok, slow,
oom, init-oom, exit, no-image, job); a stage takes a pod from one state to the next when the verdict fits. So
a changed spec gets another verdict, and the next pod lives. `manifests/stages.jq` has both, in jq.
"""

import json
from typing import Any

from .needs import catalogue
from .places import MANIFESTS

Object = dict[str, Any]
DELETE_S = 5
PULL_S = 5
LOAD = 'number("load-seconds"; 1)'
STAGE_IN = 'number("init-seconds"; 1)'


def pod_stages(speed: float) -> list[Object]:
    """The stages of pods, where one second of the wall clock is `speed` seconds in the lab."""
    needs = json.dumps(catalogue())
    prelude = (MANIFESTS / "stages.jq").read_text().replace("CATALOGUE", needs).replace("SPEED", str(speed))
    status = (MANIFESTS / "status.tpl").read_text().replace("CATALOGUE", needs)
    return [
        {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "Stage",
            "metadata": {"name": f"pod-{name}"},
            "spec": {
                "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
                "weight": 1,
                "selector": {"matchExpressions": _selector(prelude, state, verdicts)},
                "delay": {
                    "durationMilliseconds": 50,
                    "durationFrom": {"jq": {"expression": f"{prelude}wall({delay})"}},
                },
                "steps": [_completed(step, status) for step in steps],
            },
        }
        for name, state, verdicts, delay, steps in _life()
    ]


def written(stages: list[Object]) -> str:
    """The stages as KWOK reads them: YAML documents."""
    return "\n---\n".join(json.dumps(stage) for stage in stages)


Row = tuple[str, str, str, str, list[Object]]
"""A stage's name, state, verdict (`!` before one that must not be), delay in lab seconds as jq, and steps."""


def _life() -> list[Row]:
    return [
        ("new", "new", "!no-image", "0", [_status("waits", "waits")]),
        ("no-image", "new", "no-image", str(PULL_S), [*_pulling(), _status("done", "no-image")]),
        ("stage", "staging-waits", "", "backoff", [_started(init=True), _status("run", "waits")]),
        (
            "stage-oom",
            "staging",
            "init-oom",
            f"{STAGE_IN} / 2",
            [
                _status("failed", "waits", life="half-staging", code=137, why="OOMKilled"),
                _back_off(init=True),
            ],
        ),
        ("staged", "staging", "!init-oom", STAGE_IN, [_status("done", "waits", life="staging")]),
        ("start", "waits", "", "backoff", [_pulled(), _started(), _status("done", "run")]),
        ("ready", "loading", "ok", LOAD, [_status("done", "ready", life="load")]),
        ("complete", "loading", "job", LOAD, [_status("done", "done", life="load")]),
        ("slow", "loading", "slow", "budget", [*_killing(), _failed("budget", 137, "Error"), _back_off()]),
        ("oom", "loading", "oom", f"{LOAD} / 2", [_failed("half-load", 137, "OOMKilled"), _back_off()]),
        ("exit", "loading", "exit", f"{LOAD} / 2", [_failed("half-load", 1, "Error"), _back_off()]),
        ("delete", "deleting", "", str(DELETE_S), [{"delete": True}]),
    ]


def _selector(prelude: str, state: str, verdicts: str) -> list[Object]:
    wanted = [{"jq": {"key": f"{prelude}state", "operator": "In", "values": [state]}}]
    if verdicts:
        operator = "NotIn" if verdicts.startswith("!") else "In"
        values = [verdicts.lstrip("!")]
        wanted.append({"jq": {"key": f"{prelude}verdict", "operator": operator, "values": values}})
    return wanted


def _completed(step: Object, status: str) -> Object:
    """A step whose patch has the status template behind its variables."""
    if "patch" not in step:
        return step
    return {"patch": {**step["patch"], "template": step["patch"]["template"] + status}}


def _status(init: str, main: str, life: str = "nothing", code: int = 0, why: str = "Error") -> Object:
    """Set the pod's status: what its init containers and its server are, how long it lived, how it ended."""
    words = {"init": init, "main": main, "life": life, "why": why}
    given = "".join(f'{{{{ ${name} := "{word}" }}}}' for name, word in words.items())
    template = f"{given}{{{{ $code := {code} }}}}"
    return {"patch": {"subresource": "status", "root": "status", "template": template}}


def _failed(life: str, code: int, why: str) -> Object:
    return _status("done", "failed", life=life, code=code, why=why)


def _event(sort: str, reason: str, message: str, init: bool = False) -> Object:
    """Write an event as the kubelet words it; `message` is Go template arguments of `printf`."""
    words = {
        "type": sort,
        "reason": reason,
        "message": message,
        "containers": "initContainers" if init else "containers",
        "statuses": "initContainerStatuses" if init else "containerStatuses",
    }
    return {"apply": {"template": (MANIFESTS / "event.tpl").read_text() % words}}


def _started(init: bool = False) -> Object:
    return _event("Normal", "Started", '"Container started"', init)


def _pulled() -> Object:
    return _event("Normal", "Pulled", r'"Container image \"%s\" already present on machine" $container.image')


def _pulling() -> list[Object]:
    return [
        _event("Normal", "Pulling", r'"Pulling image \"%s\"" $container.image'),
        _event(
            "Warning",
            "Failed",
            r'"Failed to pull image \"%s\": %s: not found" $container.image $container.image',
        ),
        _event("Normal", "BackOff", r'"Back-off pulling image \"%s\"" $container.image'),
    ]


def _killing() -> list[Object]:
    refused = (
        r'"%s probe failed: Get \"%s\": dial tcp %s: connect: connection refused" (title $sort) $url $target'
    )
    killed = '"Container %s failed %s probe, will be restarted" $container.name $sort'
    return [_event("Warning", "Unhealthy", refused), _event("Normal", "Killing", killed)]


def _back_off(init: bool = False) -> Object:
    where = "$container.name .metadata.name .metadata.namespace .metadata.uid"
    return _event(
        "Warning", "BackOff", f'"Back-off restarting failed container %s in pod %s_%s(%s)" {where}', init
    )
