"""Objects that say of themselves that they are not ready, where no pod and no fault says why."""

from collections.abc import Iterable, Iterator

from tillerman.cluster.model import Condition, Node, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.quantity import duration
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Fault, outage, seen_object
from tillerman.patterns.unrecognised import NOT_READY_S, Unrecognised

_SERVING = ("InferenceService", "LLMInferenceService")
#: Waits that end by themselves: a service that has such a pod is on its way.
_WAITS = ("gated", "starting", "init-running", "creating")
#: A heartbeat lost for less is a kubelet restart or a reboot. Source: node-monitor-grace-period is 50 s.
NODE_LOST_S = 300


def unready(cluster: Snapshot, found: Iterable[Fault]) -> Iterator[Unrecognised]:
    """Lost nodes, and services and workloads that report a failure, where no finding accounts for them."""
    known = {ref.key for fault in found for ref in (*fault.hurts, fault.subject)} | set(cluster.whatif)
    for node in cluster.nodes:
        if node.ref.key not in known and (condition := _lost(cluster, node)):
            yield _node(cluster, node, condition)
    for kind in _SERVING:
        for item in cluster.all(kind):
            accounted = known & {item.ref.key, *(pod.ref.key for pod in cluster.pods_of(item.ref))}
            if not accounted and (condition := _stuck(cluster, item)):
                yield _object(cluster, item, condition, "unrecognised-service-not-ready", "is not ready")
    for item in cluster.all("Deployment"):
        failure = item.condition("ReplicaFailure")
        owner = cluster.owner_of(item)
        if failure and failure.status == "True" and not known & {item.ref.key, owner.key}:
            yield _object(cluster, item, failure, "unrecognised-replica-failure", "cannot create its pods")


def _lost(cluster: Snapshot, node: Node) -> Condition | None:
    """The Ready condition of a node that has been lost for long and that nobody took out of service."""
    ready = node.condition("Ready")
    if ready is None or ready.status == "True" or node.spec.unschedulable:
        return None
    return ready if (cluster.age_s(ready.last_transition_time) or 0) >= NODE_LOST_S else None


def _stuck(cluster: Snapshot, item: Object) -> Condition | None:
    """The condition that keeps a service from being ready, when it lasts and no pod of it is on its way."""
    ready = item.condition("Ready")
    if ready is None or ready.status != "False" or ready.reason == "Stopped":
        return None
    if item.annotations.get("serving.kserve.io/stop") == "true":
        return None
    if any((t := cluster.trouble(pod)) and t.kind in _WAITS for pod in cluster.pods_of(item.ref)):
        return None
    parts = [c for c in item.conditions if c.status == "False" and c.type not in ("Ready", "Stopped")]
    told = next((c for c in parts if c.message or c.reason), ready)
    return told if (cluster.age_s(ready.last_transition_time) or 0) >= NOT_READY_S else None


def _node(cluster: Snapshot, node: Node, condition: Condition) -> Unrecognised:
    pods = [pod for pod in cluster.pods_on(node.name) if not pod.finished]
    owners = dict.fromkeys(cluster.owner_of(pod) for pod in pods)
    down = any(outage(cluster, owner) == "critical" for owner in owners)
    since = duration(cluster.age_s(condition.last_transition_time) or 0)
    return Unrecognised(
        subject=node.ref,
        severity="critical" if down else "warning",
        evidence=(
            seen_object(node.ref, "status.conditions[Ready]", f"{condition.reason}: {condition.message}"),
        ),
        hurts=(*(pod.ref for pod in pods), *owners),
        fault="unrecognised-node-not-ready",
        pattern="daemon-service",
        pods=len(pods),
        what=f"on a node that is not ready since {since}",
        telling=condition.message or condition.reason,
    )


def _object(cluster: Snapshot, item: Object, condition: Condition, fault: str, what: str) -> Unrecognised:
    owner: Ref = cluster.owner_of(item)
    pods = cluster.pods_of(item.ref)
    since = duration(cluster.age_s(condition.last_transition_time) or 0)
    said = f"{condition.reason}: {condition.message}"
    return Unrecognised(
        subject=owner,
        severity=outage(cluster, owner) if pods else "critical",
        evidence=(seen_object(item.ref, f"status.conditions[{condition.type}]", said),),
        hurts=(item.ref, *(pod.ref for pod in pods if not pod.ready)),
        fault=fault,
        pattern="controller",
        pods=len(pods),
        what=f"({condition.type} {condition.reason}) {what} since {since}",
        telling=condition.message,
    )
