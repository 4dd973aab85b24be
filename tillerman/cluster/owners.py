"""Who controls what: from a pod up to the object a person would change, and down again."""

from collections.abc import Mapping
from functools import cached_property

from tillerman.cluster.index import Index, Key
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.objects import Object

SERVING = "serving.kserve.io/v1beta1"
LLM_SERVING = "serving.kserve.io/v1alpha2"

#: Kinds that own objects without being a thing a person changes: nodes own static pods; leader pods own
#: worker sets.
_TRANSPARENT = ("Node",)

#: Longest chain of owners followed; real ones have five links (pod, set, leader pod, set, LeaderWorkerSet).
LONGEST_CHAIN = 8


class Owners(Index):
    """Questions about ownership."""

    def owners_of(self, item: Pod | Object) -> tuple[Ref, ...]:
        """The controllers of an object, nearest first.

        An owner that was not read is named all the same, and last.
        """
        found: list[Ref] = []
        current: Pod | Object | None = item
        while current is not None and len(found) < LONGEST_CHAIN:
            owner = next((o for o in current.metadata.owner_references if o.controller), None)
            if owner is None or owner.kind in _TRANSPARENT:
                break
            ref = Ref(owner.api_version, owner.kind, current.namespace, owner.name)
            if owner.kind == "Pod":
                current = self.pod(ref.namespace, ref.name)
            else:
                current = self.object_at(ref) or self.get(owner.kind, "", owner.name)
                ref = current.ref if current is not None else ref
            found.append(ref)
        labelled = _served_by(item) if not found or current is None else None
        return (*found, labelled) if labelled and labelled not in found else tuple(found)

    def owner_of(self, item: Pod | Object) -> Ref:
        """The object a person would change: the last owner, or the object itself."""
        chain = self._chain(item) if isinstance(item, Pod) else self.owners_of(item)
        return next((ref for ref in reversed(chain) if ref.kind != "Pod"), item.ref)

    def workload_of(self, pod: Pod) -> Object | None:
        """The controller whose pod template made this pod (never a ReplicaSet when a Deployment owns it)."""
        chain = self._chain(pod)
        found = [item for ref in chain if (item := self.object_at(ref)) is not None and item.templates]
        return found[1] if len(found) > 1 and found[0].kind == "ReplicaSet" else found[0] if found else None

    def replica_set_of(self, pod: Pod) -> Object | None:
        """The ReplicaSet of a Deployment's pod."""
        return next((self.object_at(ref) for ref in self._chain(pod) if ref.kind == "ReplicaSet"), None)

    def pods_of(self, ref: Ref) -> tuple[Pod, ...]:
        """The pods that an object controls, directly or through others."""
        return self._pods_by_owner.get(ref.key, ())

    def children_of(self, ref: Ref, kind: str) -> tuple[Object, ...]:
        """The objects of a kind that this one controls, directly or through others."""
        return tuple(
            item for item in self.all(kind) if ref.key in {owner.key for owner in self.owners_of(item)}
        )

    def scalers_of(self, ref: Ref) -> tuple[Object, ...]:
        """The HorizontalPodAutoscalers and ScaledObjects of an object, or of a workload that it controls."""
        found = []
        for scaler in (*self.all("HorizontalPodAutoscaler"), *self.all("ScaledObject")):
            target = scaler.table("spec.scaleTargetRef")
            kind, name = str(target.get("kind", "Deployment")), str(target.get("name", ""))
            workload = self.get(kind, scaler.namespace, name)
            chain = (workload.ref, *self.owners_of(workload)) if workload else ()
            if (kind, scaler.namespace, name) == ref.key or ref.key in {owner.key for owner in chain}:
                found.append(scaler)
        return tuple(found)

    def _chain(self, pod: Pod) -> tuple[Ref, ...]:
        return self._chains.get((pod.metadata.namespace, pod.metadata.name)) or self.owners_of(pod)

    @cached_property
    def _chains(self) -> Mapping[tuple[str, str], tuple[Ref, ...]]:
        """The chain of each pod; pods of one controller share it."""
        shared: dict[tuple[str, str, str], tuple[Ref, ...]] = {}
        found: dict[tuple[str, str], tuple[Ref, ...]] = {}
        for pod in self.pods:
            owner = next((o for o in pod.metadata.owner_references if o.controller), None)
            if owner is None:
                found[pod.metadata.namespace, pod.metadata.name] = self.owners_of(pod)
                continue
            key = (owner.kind, pod.metadata.namespace, owner.name)
            if key not in shared:
                shared[key] = self.owners_of(pod)
            found[pod.metadata.namespace, pod.metadata.name] = shared[key]
        return found

    @cached_property
    def _pods_by_owner(self) -> Mapping[Key, tuple[Pod, ...]]:
        found: dict[Key, list[Pod]] = {}
        for pod in self.pods:
            for ref in self._chain(pod):
                found.setdefault(ref.key, []).append(pod)
        return {key: tuple(pods) for key, pods in found.items()}


def _served_by(item: Pod | Object) -> Ref | None:
    """The serving object that a pod's labels name, for when the chain of owners could not be read."""
    if not isinstance(item, Pod):
        return None
    labels = item.labels
    if name := labels.get("serving.kserve.io/inferenceservice"):
        return Ref(SERVING, "InferenceService", item.namespace, name)
    if (
        labels.get("app.kubernetes.io/part-of") == "llminferenceservice"
        and "app.kubernetes.io/name" in labels
    ):
        return Ref(LLM_SERVING, "LLMInferenceService", item.namespace, labels["app.kubernetes.io/name"])
    if name := labels.get("leaderworkerset.sigs.k8s.io/name"):
        return Ref("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", item.namespace, name)
    return None
