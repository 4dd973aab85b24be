"""The bucket with the model refuses the download, or is not found where the download looks for it.

What happens
The step that fetches the model gets keys, endpoint, region and certificates from the secret of its service
account, from a role bound to that account, or from its own variables. When one is missing or wrong, the
object store answers with a refusal, or nobody answers.

How it shows
An init container or server that exits 1 with `Unable to locate credentials`, `Invalid AWS credentials`,
`Access denied to S3 resource`, `S3 bucket '...' does not exist`, `Failed to connect to S3 endpoint` or `SSL
validation failed`; the same for GCS and Azure.

When we stay silent
The download succeeded since; the store has the bucket but no model under that path (then the URI is wrong).

What we propose
The service account with which others of the namespace get through, or the only one that has a secret or a
role; the endpoint that others use, where the owner sets it; the bucket of nearly the same name that others
use. Else advice for the cause that the log gives.

Sources
KServe 0.20 `storage_errors.py`, `pkg/credentials/s3`; botocore 1.4x exceptions.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.model import Pod
from tillerman.cluster.places import STORAGE_INITIALIZER
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.downloads import (
    Said,
    changed,
    downloads_saying,
    hurt_with,
    severity_of,
    uri_of,
    uri_path,
)
from tillerman.patterns.fault import Evidence, Fault, Layer, seen_object
from tillerman.patterns.init_container.accounts import account_of, secrets_of

#: The cause, and the lines that give it: KServe's own texts, then those of the stores' libraries.
CAUSES = (
    (
        "credentials",
        r"Invalid AWS credentials|(?:S3|GCS|Azure) authentication failed|Unable to locate credentials"
        r"|NoCredentialsError|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidClientTokenId"
        r"|AssumeRoleWithWebIdentity|DefaultCredentialsError|ClientAuthenticationError",
    ),
    (
        "access",
        r"Access denied to (?:S3|GCS|Azure) resource|\(AccessDenied\) when calling|S3 error \[AccessDenied\]"
        r"|An error occurred \(403\) when calling",
    ),
    ("bucket", r"S3 bucket '[^']*' does not exist|NoSuchBucket|The specified bucket does not exist"),
    ("certificate", r"SSL validation failed for|Failed to find ca bundle file|botocore.*SSLError"),
    (
        "endpoint",
        r"Failed to connect to (?:S3|GCS|Azure) endpoint|EndpointConnectionError"
        r"|Could not connect to the endpoint URL|[Cc]onnect timeout on endpoint URL",
    ),
)
_TOLD = {
    "credentials": "it has no valid credentials",
    "access": "its credentials may not read there",
    "bucket": "the bucket does not exist at this endpoint",
    "certificate": "it does not trust the endpoint's certificate",
    "endpoint": "nobody answers at its endpoint",
}
#: Variables that name the endpoint. Source: KServe 0.20 `s3_secret.go`, AWS SDKs.
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "S3_ENDPOINT_URL", "S3_ENDPOINT")
_ROLES = ("eks.amazonaws.com/role-arn", "iam.gke.io/gcp-service-account", "azure.workload.identity/client-id")
#: Names as alike as this are one name mistyped. Source: difflib's ratio; one letter in eight.
ALIKE = 0.85


@dataclass(frozen=True, kw_only=True)
class S3CredentialsOrEndpoint(Fault):
    """Downloads of one owner that an object store refuses."""

    layer = Layer.STAGING

    said: Said
    cause: str
    uri: str
    account: str
    endpoint: str
    pods: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose downloads from an object store are refused."""
        for owner, found in downloads_saying(cluster, "|".join(pattern for _, pattern in CAUSES)):
            one = found[0].download
            if changed(cluster, one):
                continue
            downloads = [s.download for s in found]
            cause = next(name for name, pattern in CAUSES if re.search(pattern, found[0].line.text))
            account = one.pod.spec.service_account_name or "default"
            endpoint = _endpoint(cluster, one.pod, one.container.name)
            yield cls(
                subject=owner,
                severity=severity_of(cluster, downloads),
                evidence=(*found[0].evidence, *_settings(one.pod, account, endpoint)),
                hurts=hurt_with(cluster, downloads),
                said=found[0],
                cause=cause,
                uri=uri_of(cluster, one.pod),
                account=account,
                endpoint=endpoint,
                pods=len(found),
            )

    def summary(self) -> str:
        """What is not handed out, and why."""
        one = self.said.download
        what = self.uri or "the model from its bucket"
        at = f", endpoint {self.endpoint}" if self.endpoint else ""
        return (
            f"`{one.container.name}` of {counted(self.pods, 'pod')} cannot fetch {what}: {_TOLD[self.cause]} "
            f"(service account `{self.account}`{at})"
        )

    def explain(self) -> list[str]:
        """From the credentials to the server that never starts."""
        at = f" and looks at {self.endpoint}" if self.endpoint else ""
        return [
            f"the download runs with what the service account `{self.account}` gives it{at}",
            f"the object store's answer: {self.said.line.text[:240]}",
            "without the weights nothing starts, and the same request is made again",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """What others use with success."""
        one = self.said.download
        if self.cause in ("credentials", "access"):
            account = _account_that_works(cluster, one.pod, self.uri)
            if account:
                why = f"`{account}` has the credentials that `{self.account}` lacks"
                change = cluster.edit_pod(one.pod, "serviceAccountName", account, why)
                return [change] if change else []
        if self.cause == "bucket":
            return self._other_bucket(cluster)
        return self._other_endpoint(cluster) if self.cause in ("endpoint", "certificate") else []

    def _other_bucket(self, cluster: Snapshot) -> list[Change]:
        owner = cluster.object_at(self.subject)
        path = uri_path(owner) if owner else None
        scheme, _, rest = self.uri.partition("://")
        bucket, _, key = rest.partition("/")
        used = {u.split("/")[2] for p in cluster.pods if (u := uri_of(cluster, p)).startswith(f"{scheme}://")}
        near = difflib.get_close_matches(bucket, sorted(used - {bucket}), n=2, cutoff=ALIKE)
        if owner is None or path is None or len(near) != 1:
            return []
        edit = Edit(path=path, before=owner.value(path), after=f"{scheme}://{near[0]}/{key}")
        why = f"`{bucket}` does not exist; others fetch from `{near[0]}`"
        return [Change(target=owner.ref, edits=(edit,), why=why)]

    def _other_endpoint(self, cluster: Snapshot) -> list[Change]:
        one = self.said.download
        used = {e for p in cluster.pods if p.ready for c in _steps(p) if (e := _endpoint(cluster, p, c))}
        place = cluster.place_of(one.pod, one.container.name)
        if len(used - {self.endpoint}) != 1 or not self.endpoint or place is None:
            return []
        (better,) = used - {self.endpoint}
        for at, entry in enumerate(place.target.items(f"{place.container}.env")):
            if isinstance(entry, dict) and entry.get("name") in ENDPOINTS:
                why = f"others reach the store at {better}"
                change = cluster.edit(one.pod, one.container.name, f"env[{at}].value", better, why)
                return [change] if change else []
        return []

    def advice(self) -> list[str]:
        """What to look at for this cause."""
        space = self.said.download.pod.namespace
        look = (
            f"`kubectl -n {space} get sa {self.account} -o yaml` shows the secrets and roles of the account"
        )
        return {
            "credentials": [
                look,
                "the secret needs AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and the annotations "
                "`serving.kserve.io/s3-endpoint`, `s3-region`, `s3-usehttps`",
            ],
            "access": [
                look,
                "its key or role must be allowed ListBucket on the bucket and GetObject below it",
            ],
            "bucket": ["compare the bucket's name, and the endpoint and region in which it exists", look],
            "certificate": [
                "put the private CA into a ConfigMap, named by `serving.kserve.io/s3-cabundle` of the secret",
                look,
            ],
            "endpoint": [
                "compare `serving.kserve.io/s3-endpoint` of the secret with the store's Service and port",
                f"`kubectl -n {space} run probe --rm -it --image=curlimages/curl -- curl -sv "
                f"{self.endpoint or 'ENDPOINT'}` shows whether anybody answers",
            ],
        }[self.cause]


def _steps(pod: Pod) -> tuple[str, ...]:
    return tuple(c.name for c in (*pod.spec.init_containers, *pod.spec.containers))


def _endpoint(cluster: Snapshot, pod: Pod, container: str) -> str:
    """The endpoint that a container is told, or ""."""
    found = pod.container(container)
    env = cluster.env_of(pod, found) if found else {}
    return next((env[name] for name in ENDPOINTS if env.get(name)), "")


def _settings(pod: Pod, account: str, endpoint: str) -> tuple[Evidence, ...]:
    found = [seen_object(pod.ref, "spec.serviceAccountName", account)]
    if endpoint:
        found.append(seen_object(pod.ref, f"env {ENDPOINTS[0]}", endpoint))
    return tuple(found)


def _account_that_works(cluster: Snapshot, pod: Pod, uri: str) -> str | None:
    """The account of those whose downloads of this kind get through, else the only one with credentials."""
    mine, scheme = pod.spec.service_account_name or "default", uri.partition("://")[0]
    works = {
        p.spec.service_account_name or "default"
        for p in cluster.pods_in(pod.namespace)
        if scheme and p.ready and uri_of(cluster, p).startswith(scheme) and p.container(STORAGE_INITIALIZER)
    }
    if mine in works:
        return None
    own = account_of(cluster, pod)
    equipped = {
        account.name
        for account in cluster.all("ServiceAccount", pod.namespace)
        if secrets_of(account) or any(role in account.annotations for role in _ROLES)
    }
    candidates = works or (equipped if own and mine not in equipped else set())
    return next(iter(candidates)) if len(candidates) == 1 else None
