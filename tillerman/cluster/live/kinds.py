"""Which kinds are read: a few of Kubernetes' own, and all of the groups that serve models, as discovered."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from tillerman.cluster.live.api import FIRST, Api, Refused
from tillerman.cluster.model import Typed
from tillerman.errors import ClusterError

#: Kubernetes' own groups: the resources read from each, in order; empty for all it has. Never Secrets.
#: Source: the API groups of Kubernetes 1.37 (checked 2026-11).
OWN: Mapping[str, tuple[str, ...]] = {
    "": (
        "pods",
        "nodes",
        "events",
        "namespaces",
        "services",
        "configmaps",
        "serviceaccounts",
        "persistentvolumeclaims",
        "persistentvolumes",
        "resourcequotas",
        "limitranges",
    ),
    "apps": ("deployments", "replicasets", "statefulsets", "daemonsets"),
    "batch": ("jobs", "cronjobs"),
    "autoscaling": ("horizontalpodautoscalers",),
    "policy": ("poddisruptionbudgets",),
    "networking.k8s.io": ("networkpolicies", "ingresses"),
    "discovery.k8s.io": ("endpointslices",),
    "rbac.authorization.k8s.io": ("roles", "rolebindings", "clusterroles", "clusterrolebindings"),
    "storage.k8s.io": ("storageclasses",),
    "scheduling.k8s.io": ("priorityclasses",),
    "node.k8s.io": ("runtimeclasses",),
    "admissionregistration.k8s.io": ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"),
    "apiregistration.k8s.io": ("apiservices",),
    "resource.k8s.io": (),
}
#: Groups of custom resources that serve models, or GPUs. Source: the projects' CRDs (checked 2026-11).
CUSTOM: Mapping[str, tuple[str, ...]] = {
    "serving.kserve.io": (),
    "inference.networking.k8s.io": (),
    "inference.networking.x-k8s.io": (),
    "llm-d.ai": (),
    "llmd.ai": (),
    "gateway.networking.k8s.io": (),
    "keda.sh": (),
    "leaderworkerset.x-k8s.io": (),
    "disaggregatedset.x-k8s.io": (),
    "jobset.x-k8s.io": (),
    "kueue.x-k8s.io": (),
    "nvidia.com": (),
    "resource.nvidia.com": (),
    "nfd.k8s-sigs.io": (),
    "nfd.openshift.io": (),
    "karpenter.sh": (),
    "karpenter.k8s.aws": (),
    "serving.knative.dev": ("services", "configurations", "revisions"),
    "ray.io": (),
    "monitoring.coreos.com": ("servicemonitors", "podmonitors", "prometheuses"),
    "argoproj.io": ("rollouts",),
}
GROUPS = {**OWN, **CUSTOM}
NEVER = frozenset({"secrets"})


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One kind as the API server serves it; `plural` is its name in paths."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    def path(self, namespace: str = "") -> str:
        """The path of its list, of one namespace when given."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"

    @property
    def title(self) -> str:
        """Its name to people: `pods`, and `inferencepools.inference.networking.k8s.io` as kubectl says it."""
        return self.plural if self.group in OWN else f"{self.plural}.{self.group}"


class _Version(Typed, frozen=True):
    group_version: str = ""
    version: str = ""


class _Group(Typed, frozen=True):
    name: str = ""
    versions: tuple[_Version, ...] = ()
    preferred_version: _Version = _Version()


class _Groups(Typed, frozen=True):
    kind: str = ""
    groups: tuple[_Group, ...] = ()


class _Served(Typed, frozen=True):
    name: str = ""
    kind: str = ""
    namespaced: bool = False
    verbs: tuple[str, ...] = ()


class _ServedList(Typed, frozen=True):
    resources: tuple[_Served, ...] = ()


async def discover(api: Api) -> tuple[list[Resource], list[str]]:
    """The kinds to read, in the order of GROUPS, each in the version its server prefers; what was not seen.

    Raises: Refused when the server does not answer, ClusterError when it is no Kubernetes API server.
    """
    groups, problems = await _groups(api)
    wanted = [(name, groups[name]) for name in GROUPS if name in groups]
    asked = [(name, version) for name, versions in wanted for version in versions]
    answers = await asyncio.gather(*(_served(api, name, version) for name, version in asked))
    found: dict[tuple[str, str], Resource] = {}
    for (name, version), served in zip(asked, answers, strict=True):
        if isinstance(served, Refused):
            problems.append(f"kinds of {name or 'core'}/{version}: {served.reason}")
            continue
        for one in served.resources:
            if _is_wanted(name, one):
                resource = Resource(
                    group=name, version=version, plural=one.name, kind=one.kind, namespaced=one.namespaced
                )
                found.setdefault((name, one.name), resource)
    return sorted(found.values(), key=_place), problems


async def _groups(api: Api) -> tuple[dict[str, list[str]], list[str]]:
    """Each group's versions, the preferred one first."""
    try:
        answer = await api.get("/apis", effort=FIRST)
    except Refused as refused:
        if not refused.forbidden:
            raise
        return {"": ["v1"]}, ["kinds beyond the core: discovery is forbidden"]
    try:
        groups = msgspec.json.decode(answer.body, type=_Groups)
    except (msgspec.DecodeError, UnicodeDecodeError):
        groups = _Groups()
    if groups.kind != "APIGroupList":
        server = api.connection.server
        raise ClusterError(
            f"`{server}` answers, but not as a Kubernetes API server", "check `server` in the kubeconfig"
        )
    found = {"": ["v1"]}
    for group in groups.groups:
        ordered = (group.preferred_version.version, *(version.version for version in group.versions))
        found[group.name] = [version for version in dict.fromkeys(ordered) if version]
    return found, []


async def _served(api: Api, group: str, version: str) -> _ServedList | Refused:
    try:
        answer = await api.get(f"/apis/{group}/{version}" if group else f"/api/{version}")
        return msgspec.json.decode(answer.body, type=_ServedList)
    except Refused as refused:
        return refused
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Refused(200, "not an answer of a Kubernetes API server")


def _is_wanted(group: str, one: _Served) -> bool:
    named = GROUPS[group]
    listable = "/" not in one.name and "list" in one.verbs and one.name not in NEVER
    return listable and (not named or one.name in named)


def _place(resource: Resource) -> tuple[int, int, str]:
    named = GROUPS[resource.group]
    within = named.index(resource.plural) if resource.plural in named else 0
    return list(GROUPS).index(resource.group), within, resource.plural
