"""Prefill and decode differ in what a KV cache is made of, so decode cannot use what prefill computed.

What happens
Before it reads another server's KV cache, NIXL compares a hash of release, model, types and layout. Where one
role was changed and the other was not, the hashes differ and every transfer is refused: requests fail, or are
prefilled again by the decode server.

How it shows
`NIXL compatibility hash mismatch` at the decode servers, or transfers that fail between two scrapes; and a
release, dtype, KV type, block size, model or connector that all servers of one role have and none of the
other.

When we stay silent
No transfer fails; the roles differ only in what may differ (parallelism, memory, batch limits); a rollout is
under way and both values are there in one role.

What we propose
The value of the other role, at the role that was rolled out last.

Sources
vLLM 0.32 NIXL connector (`compute_nixl_compatibility_hash`); vllm-project/vllm#60124; llm-d P/D guide.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.models import model_of
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.disaggregated_serving.roles import Failing, Pair, failing, hurt_by, pairs, younger
from tillerman.patterns.fault import Evidence, Fault, Layer, seen_object

#: Flags that make the cache, and their values where none is set. Source: vLLM 0.32, CUDA.
_FLAGS = {"dtype": "auto", "kv-cache-dtype": "auto", "block-size": "16"}
#: Variables that choose the attention backend and the cache's layout.
_VARIABLES = ("VLLM_ATTENTION_BACKEND", "VLLM_KV_CACHE_LAYOUT")
_SAME = {"half": "float16", "fp8_e4m3": "fp8", "float": "float32"}


class Difference(NamedTuple):
    """A setting, as the role that changed last has it, and as the other one does."""

    name: str
    late: str
    other: str


@dataclass(frozen=True, kw_only=True)
class PdIncompatibleConfig(Fault):
    """One pair of roles whose caches do not fit, and the settings that differ."""

    layer = Layer.ENGINE

    late: Server
    other: Server
    differences: tuple[Difference, ...]
    failing: Failing

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Pairs whose transfers fail and whose settings differ, or whose log says that they do."""
        for pair in pairs(cluster):
            fails = failing(cluster, pair)
            late, other = younger(cluster, pair)
            found = tuple(differences(cluster, pair, late)) if fails else ()
            owner = cluster.owner_of(late.pod)
            touched = {cluster.owner_of(server.pod).key for server in pair.servers} & cluster.whatif
            if fails and (found or (fails.mismatch and not touched)):
                yield cls(
                    subject=owner,
                    severity="critical" if fails.mismatch else "warning",
                    evidence=(*_seen(late, other, found), *fails.evidence),
                    hurts=hurt_by(cluster, pair),
                    certainty="proven" if found and fails.mismatch else "likely",
                    late=late,
                    other=other,
                    differences=found,
                    failing=fails,
                )

    def summary(self) -> str:
        """What differs, and how many transfers failed."""
        said = ", ".join(f"{d.name} {d.late} here, {d.other} there" for d in self.differences)
        count = (
            f"; {self.failing.count:.0f} transfers failed between two scrapes" if self.failing.count else ""
        )
        return f"prefill and decode cannot share a KV cache: {said or 'their configurations differ'}{count}"

    def explain(self) -> list[str]:
        """From the difference to the requests."""
        first = [
            f"{d.name} is {d.late} in {self.late.pod.name}, {d.other} in {self.other.pod.name}"
            for d in self.differences
        ]
        return [
            *(first or ["the engines found that they do not fit; the manifests do not tell in what"]),
            "NIXL refuses a transfer between caches of different make",
            "requests fail, or the decode server prefills them itself",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The other role's values."""
        change = _repaired(cluster, self.late, self.differences, self.other)
        return [change] if change else []

    def advice(self) -> list[str]:
        """How to keep them alike."""
        return [
            "compare the `Initializing a V1 LLM engine` line of a pod of each role: it has all settings",
            "roll both roles out together, from one source of flags and image",
        ]


def differences(cluster: Snapshot, pair: Pair, late: Server) -> Iterator[Difference]:
    """The settings that all servers of one role have and none of the other."""
    first, second = (pair.prefill, pair.decode) if late in pair.prefill else (pair.decode, pair.prefill)
    here, there = _settings(cluster, first), _settings(cluster, second)
    for name, values in here.items():
        others = there.get(name, set())
        if values and others and not values & others:
            yield Difference(name, min(values), min(others))


def _settings(cluster: Snapshot, servers: tuple[Server, ...]) -> dict[str, set[str]]:
    """Each setting's values among the servers of a role."""
    found: dict[str, set[str]] = {"image": {_version(server.container.image) for server in servers}}
    for name, default in _FLAGS.items():
        values = ((flag.value if (flag := s.flag(name)) else default) for s in servers)
        found[name] = {_SAME.get(value, value) for value in values}
    for name in _VARIABLES:
        found[name] = {server.env.get(name, "not set") for server in servers}
    models = (model_of(cluster, server) for server in servers)
    found["model"] = {model.rstrip("/").rsplit("/", 1)[-1].lower() for model in models if model}
    found["kv_connector"] = {_connector(server) for server in servers} - {""}
    return found


def _version(image: str) -> str:
    """The release that an image's tag names, whatever build it is; the whole image where it names none."""
    tag = re.search(r":v?(\d+\.\d+(?:\.\d+)?(?:\.?(?:rc|post)\d+)?)", image)
    return tag[1] if tag else _release(image)


def _release(image: str) -> str:
    """An image without its registry: mirrors serve the same one."""
    host, slash, rest = image.partition("/")
    return rest if slash and re.search(r"[.:]|^localhost$", host) else image


def _connector(server: Server) -> str:
    flag = server.flag("kv-transfer-config")
    found = re.search(r'"?kv_connector"?\s*[:=]\s*"?(\w+)', flag.value) if flag else None
    return found[1] if found else ""


def _repair(cluster: Snapshot, late: Server, one: Difference, other: Server) -> Change | None:
    """The change that gives a setting the other role's value; None where that takes a person."""
    why = f"the other role has {one.name} {one.other}"
    if one.name == "image":
        after = _image_like(late.container.image, other.container.image)
        return cluster.edit(late.pod, late.container.name, "image", after, why)
    if one.name in _FLAGS:
        return cluster.edit_flag(late, one.name, one.other, why)
    return None


def _image_like(own: str, other: str) -> str:
    """The other role's image, from the registry that this role uses where both have the same name."""
    if _release(own).split(":")[0] == _release(other).split(":")[0]:
        return own.removesuffix(_release(own)) + _release(other)
    return other


def _repaired(cluster: Snapshot, late: Server, found: tuple[Difference, ...], other: Server) -> Change | None:
    """One change of all the settings, each computed with those before it made; None where one cannot be."""
    edits: dict[str, Edit] = {}
    done: Change | None = None
    for one in found:
        pod = cluster.pod(late.pod.namespace, late.pod.name)
        server = cluster.server_of(pod) if pod else None
        change = _repair(cluster, server, one, other) if server else None
        if change is None or (done and change.target.key != done.target.key):
            return None
        cluster = cluster.with_changes([change])
        for edit in change.edits:
            first = edits.get(edit.path, edit)
            edits[edit.path] = Edit(path=edit.path, before=first.before, after=edit.after)
        why = f"{done.why}; {change.why}" if done else change.why
        done = Change(target=change.target, edits=tuple(edits.values()), why=why)
    return done


def _seen(late: Server, other: Server, found: tuple[Difference, ...]) -> Iterator[Evidence]:
    for one in found:
        for server, value in ((late, one.late), (other, one.other)):
            yield seen_object(server.pod.ref, f"spec.containers[{server.container.name}] {one.name}", value)
