"""A model is gated or private on Hugging Face, and what fetches it has no token, or one without access.

What happens
Hugging Face hands gated and private models only to accounts that were let in. A download without a token is
refused (401), one with a token of an account without access too (403). KServe's storage initializer gets
nothing of the predictor's environment: a token that is set there does not reach it.

How it shows
An init container, a download Job or the server itself exits 1 again and again; its log says
`GatedRepoError`, `Cannot access gated repo`, `Hugging Face authentication failed` or, for a repository that
strangers may not see, `Repository Not Found` with 401.

When we stay silent
The download succeeded since; the repository is not found with a token in place (then its name is wrong);
another error came first.

What we propose
Where the step has no token and others of its pod or namespace take one from a secret: that secret, listed in
the service account that KServe reads, or as a variable of the step. Else advice: a token, or access for its
account.

Sources
kserve/kserve#4400, kserve/kserve#6260, kserve/website#482; KServe 0.20 `storage_errors.py` and
`hf_secret.go`; huggingface_hub 1.x `hf_raise_for_status`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.downloads import (
    Download,
    Said,
    changed,
    downloads_saying,
    hurt_with,
    severity_of,
    uri_of,
)
from tillerman.patterns.fault import Fault, Layer, seen_object
from tillerman.patterns.init_container.accounts import (
    KSERVE_KEY,
    TokenSecret,
    given_token,
    holds_token,
    token_secret,
)
from tillerman.patterns.init_container.uris import misspelled

#: Refusals of a gated model: nothing else is said so.
GATED = (
    r"GatedRepoError|(?i:cannot access gated repo|trying to access a gated repo)"
    r"|Access to model \S+ is restricted|awaiting a review from the repo authors"
)
#: Refusals that a name which does not exist gets too, when nobody says who asks; KServe's own text is one.
REFUSED = (
    r"(?:40[13] Client Error|[Cc]lient error '40[13] \w+').*(?:huggingface\.co|hf\.co)"
    r"|RepositoryNotFoundError: 401|(?i:hugging ?face authentication failed)"
    r"|(?i:invalid user token|invalid credentials in authorization header)"
)
#: The hub's answer to somebody whom it knows, about a repository that is not there.
NOT_THERE = r"404 Client Error|'404 Not Found'|RepositoryNotFoundError: 404"
NO_REPOSITORY = r"Repository Not Found|RepositoryNotFoundError"
_FORBIDDEN = r"403 (?:Client Error|Forbidden)|not in the authorized list|awaiting a review"
_MODEL = (
    r"[Aa]ccess to model (?P<a>[\w.-]+/[\w.-]+)|huggingface\.co/(?:api/models/)?(?P<b>[\w.-]+/[\w.-]+)",
    r"(?P<a>[\w.-]+/[\w.-]+) is not a local folder(?P<b>)",
)


@dataclass(frozen=True, kw_only=True)
class HfGatedOrNoToken(Fault):
    """Downloads of one owner that Hugging Face refuses, and whether they carry a token."""

    layer = Layer.STAGING

    said: Said
    model: str
    token: bool
    forbidden: bool
    gated: bool
    secret: TokenSecret | None
    pods: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose downloads are refused."""
        for owner, found in downloads_saying(cluster, f"{GATED}|{REFUSED}"):
            said = found[0]
            one = said.download
            token = holds_token(one.container)
            gated = _says(one, GATED)
            model = _model(said) or uri_of(cluster, one.pod).removeprefix("hf://")
            wrong_name = _says(one, NOT_THERE) or (
                _says(one, NO_REPOSITORY) and (token or misspelled(cluster, model) is not None)
            )
            if changed(cluster, one) or (wrong_name and not gated):
                continue
            downloads = [s.download for s in found]
            has = "a token" if token else f"none of {', '.join(TOKENS_SHOWN)}"
            yield cls(
                subject=owner,
                severity=severity_of(cluster, downloads),
                evidence=(*said.evidence, seen_object(one.pod.ref, f"env of {one.container.name}", has)),
                hurts=hurt_with(cluster, downloads),
                certainty="proven" if gated else "likely",
                said=said,
                model=model,
                gated=gated,
                token=token,
                forbidden=_says(one, _FORBIDDEN),
                secret=None if token else token_secret(cluster, one),
                pods=len(found),
            )

    def summary(self) -> str:
        """What is refused to whom, and whether a token is there."""
        one = self.said.download
        why = "its token's account has no access" if self.forbidden else "its token is not accepted"
        if not self.token and not self.forbidden:
            why = "it has no Hugging Face token"
            why += f" ({self.secret.used_by} has one)" if self.secret else ""
        what = f"the gated or private model {self.model}" if self.model else "a gated or private model"
        return f"`{one.container.name}` of {counted(self.pods, 'pod')} is refused {what}: {why}"

    def explain(self) -> list[str]:
        """From the missing token to the server that never starts."""
        one = self.said.download
        if self.token or self.forbidden:
            first = (
                "the token that it sends is of an account that was not let in to this model, or is not valid"
            )
        else:
            first = f"`{one.container.name}` has no token in its environment"
            if self.secret:
                first += f", while {self.secret.used_by} takes one from the secret `{self.secret.name}`"
        found = [first, f"Hugging Face refuses the download: {self.said.line.text[:200]}"]
        if one.initial and self.secret:
            found.insert(1, "an init container shares nothing of the environment of the containers after it")
        if not self.gated:
            found.append("strangers get the same answer for a repository that does not exist")
        return [*found, "without the weights nothing starts, and the same request is made again"]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The secret with a token, given to the step that lacks it."""
        one, secret = self.said.download, self.secret
        if secret is None or self.forbidden:
            return []
        why = f"`{one.container.name}` needs the token that {secret.used_by} takes from `{secret.name}`"
        return given_token(cluster, one, secret, why)

    def advice(self) -> list[str]:
        """A token, or access for its account."""
        one = self.said.download
        space, account = one.pod.namespace, one.pod.spec.service_account_name or "default"
        model = self.model or "the model"
        found = [f"ask for access to {model} on its Hugging Face page with the account that owns the token"]
        if not self.token and not self.forbidden:
            found = [
                f"`kubectl -n {space} create secret generic hf-token --from-literal={KSERVE_KEY}=...`, then "
                f'`kubectl -n {space} patch sa {account} -p \'{{"secrets":[{{"name":"hf-token"}}]}}\'`',
                *found,
            ]
        return [*found, "or mirror the weights once: LocalModelCache, a PVC, an OCI image"]


#: The variables that the evidence names as missing: those that people set.
TOKENS_SHOWN = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def _says(one: Download, pattern: str) -> bool:
    return one.log is not None and one.log.first(pattern) is not None


def _model(said: Said) -> str:
    """The model that a refusal names, in its line or in one of the lines of the same log."""
    log = said.download.log
    for pattern in _MODEL:
        found = re.search(pattern, said.line.text) or (log.first(pattern) or (None, None))[1] if log else None
        if found and (found["a"] or found["b"]):
            return (found["a"] or found["b"]).rstrip(".")
    return ""
