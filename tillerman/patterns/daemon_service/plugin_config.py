"""The sharing configuration that a node's device plugin is told to use, and where it is told."""

from dataclasses import dataclass

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.model import Node
from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot

#: The label by which a node chooses a configuration. Source: device plugin 0.20, config-manager.
LABEL = "nvidia.com/device-plugin.config"
DEFAULT = "spec.devicePlugin.config.default"


@dataclass(frozen=True, kw_only=True)
class WrongConfig:
    """A configuration that does not exist, those that do with their text, and the policy that names it.

    `by_label` when the node's own label names it.
    """

    name: str
    existing: dict[str, str]
    policy: Object
    by_label: bool

    def __str__(self) -> str:
        names = ", ".join(f"`{key}`" for key in sorted(self.existing))
        return f"`{self.name}` is not in the config map, which has {names}"

    def correct(self) -> list[Change]:
        """The one configuration that shares no GPU, as the default; with several, a person chooses."""
        whole = sorted(key for key, text in self.existing.items() if "replicas" not in text)
        if len(whole) != 1 or self.by_label:
            return []
        edit = Edit(path=DEFAULT, before=self.policy.value(DEFAULT), after=whole[0])
        return [Change(target=self.policy.ref, edits=(edit,), why=str(self))]


def wrong_config(cluster: Snapshot, node: Node) -> WrongConfig | None:
    """The configuration that a node is told to use and that its config map does not have."""
    for policy in cluster.all("ClusterPolicy"):
        label = node.labels.get(LABEL, "")
        name = label or policy.text(DEFAULT)
        existing = _configs(cluster, policy)
        if name and existing and name not in existing:
            return WrongConfig(name=name, existing=existing, policy=policy, by_label=bool(label))
    return None


def _configs(cluster: Snapshot, policy: Object) -> dict[str, str]:
    """The device plugin configurations that a cluster policy's config map holds, by name."""
    wanted = policy.text("spec.devicePlugin.config.name")
    maps = [item for item in cluster.all("ConfigMap") if item.name == wanted]
    return {key: str(text) for one in maps for key, text in one.table("data").items()}
