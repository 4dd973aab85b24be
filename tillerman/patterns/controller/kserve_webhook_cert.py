"""The API server cannot call a webhook of KServe: objects and pods are refused, or come out incomplete.

What happens
KServe checks its objects and completes its pods by webhooks. The API server calls them over TLS, with the CA
in the webhook's configuration. Without cert-manager there is no certificate, without its injector no CA in
the configuration, without a ready controller nobody answers: every call fails, and what needs it is refused.

How it shows
`failed calling webhook "inferenceservice.kserve-webhook-server...": ... x509: certificate signed by unknown
authority`, `connection refused`, `no endpoints available`, `context deadline exceeded` in events and
conditions.

When we stay silent
No message of this kind since the webhook's parts work; the webhook is not KServe's.

What we propose
Nothing: the part that is broken is named (certificate manager, injector, controller, firewall), with what to
look at.

Sources
kserve/kserve#1440, #1749, #2597, #3187; kubeflow/community-distribution#2553, #2660;
opendatahub-io/kserve#747.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.model import Event, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, Severity, seen_event, seen_object

_FAILED = re.compile(r'failed calling webhook "([\w.-]*kserve[\w.-]*)".*?: (.+)$')
_UNTRUSTED = re.compile(r"x509|certificate|PEM block")
_CONFIGURATIONS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
#: A message this old is history: a controller tries again within a quarter of an hour at most.
RECENT_S = 1800


@dataclass(frozen=True, kw_only=True)
class KserveWebhookCert(Fault):
    """A webhook of KServe that fails, and the part to blame: `part` says what about it."""

    layer = Layer.CONTROL

    webhook: str
    error: str
    part: str

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Webhooks that the API server lately could not call, one finding for each part to blame."""
        groups: dict[Ref, tuple[str, str, str, list[Event]]] = {}
        for event in cluster.events:
            found = _FAILED.search(event.text)
            if found and (cluster.age_s(event.last_seen) or 0.0) <= RECENT_S:
                blamed = _blamed(cluster, found[1], found[2])
                if blamed:
                    ref, part = blamed
                    groups.setdefault(ref, (found[1], found[2], part, []))[3].append(event)
        for ref, (webhook, error, part, events) in groups.items():
            hurt = [Ref(e.about.api_version, e.about.kind, e.about.namespace, e.about.name) for e in events]
            owners = [cluster.owner_of(item) for r in hurt if (item := cluster.object_at(r))]
            served = all(any(pod.ready for pod in cluster.pods_of(owner)) for owner in owners)
            severity: Severity = "warning" if served else "critical"
            ill = (pod.ref for pod in cluster.pods_of(ref) if not pod.ready)
            evidence = [seen_event(r, event) for r, event in zip(hurt[:3], events, strict=False)]
            yield cls(
                subject=ref,
                severity=severity,
                evidence=(*evidence, *_state(cluster, ref)),
                hurts=(ref, *dict.fromkeys((*hurt, *owners)), *ill),
                webhook=webhook,
                error=error,
                part=part,
            )

    def summary(self) -> str:
        """Which webhook, which error, and whose fault."""
        return f"the API server cannot call webhook `{self.webhook}` ({self.error[-120:]}): {self.part}"

    def explain(self) -> list[str]:
        """From the part to the refused objects."""
        return [
            self.part,
            f"so each call of `{self.webhook}` fails: {self.error[:200]}",
            "objects that this webhook has to check or complete are refused until it answers",
        ]

    def advice(self) -> list[str]:
        """The chain, from the certificate to the service."""
        return [
            "`kubectl get certificates -A` and the pods of cert-manager show whether certificates are issued",
            "`kubectl get mutatingwebhookconfigurations -o yaml | grep caBundle` shows which have a CA",
            "on private clusters the firewall has to let the API server reach port 9443 of the nodes",
        ]


def _blamed(cluster: Snapshot, webhook: str, error: str) -> tuple[Ref, str] | None:
    """The part that makes calls of a webhook fail, and what about it; None when all parts work by now."""
    configuration = _configuration(cluster, webhook)
    if not _UNTRUSTED.search(error):
        down = _down(cluster, r"kserve-controller-manager|llmisvc-controller-manager|odh-model-controller")
        if down:
            return down.ref, f"Deployment `{down.name}`, which answers it, has no ready pod"
    manager = _down(cluster, r"^cert-manager(?:-cainjector|-webhook)?$")
    if manager:
        return manager.ref, f"Deployment `{manager.name}`, which sees to its certificate, has no ready pod"
    for certificate in cluster.all("Certificate"):
        ready = certificate.condition("Ready")
        if "kserve" in certificate.name and ready and ready.status == "False":
            return certificate.ref, f"Certificate `{certificate.name}` is not issued: {ready.message}"
    if configuration and not _trusted(configuration, webhook):
        return configuration.ref, f"{configuration.kind} `{configuration.name}` has no CA to trust it by"
    if _UNTRUSTED.search(error) and configuration:
        return configuration.ref, f"{configuration.kind} `{configuration.name}` has a CA that did not sign it"
    return None


def _configuration(cluster: Snapshot, webhook: str) -> Object | None:
    """The configuration that has a webhook of that name."""
    for kind in _CONFIGURATIONS:
        for item in cluster.all(kind):
            if any(isinstance(w, dict) and w.get("name") == webhook for w in item.items("webhooks")):
                return item
    return None


def _trusted(configuration: Object, webhook: str) -> bool:
    entries = [w for w in configuration.items("webhooks") if isinstance(w, dict) and w.get("name") == webhook]
    return all((entry.get("clientConfig") or {}).get("caBundle") for entry in entries)


def _down(cluster: Snapshot, name: str) -> Object | None:
    """A Deployment of that name that has no ready pod, as far as anything says so."""
    return next((d for d in cluster.all("Deployment") if re.search(name, d.name) and _idle(cluster, d)), None)


def _idle(cluster: Snapshot, deployment: Object) -> bool:
    """Whether a Deployment has no ready pod: by its pods, else by what it wants and counts."""
    pods = cluster.pods_of(deployment.ref)
    if pods:
        return not any(pod.ready for pod in pods)
    off = deployment.count("spec.replicas") == 0
    return off or (bool(deployment.table("status")) and not deployment.count("status.readyReplicas"))


def _state(cluster: Snapshot, ref: Ref) -> tuple[Evidence, ...]:
    item = cluster.object_at(ref)
    if item is None or item.kind != "Deployment":
        return ()
    return (seen_object(ref, "status.readyReplicas", item.count("status.readyReplicas") or 0),)
