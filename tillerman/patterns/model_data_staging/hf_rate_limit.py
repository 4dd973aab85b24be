"""Hugging Face limits how often this address or account may ask, and downloads fail with 429.

What happens
Every replica asks for the whole repository at each start. The hub counts requests by address (all nodes
behind one gateway share it) or by account, and answers 429 when there were too many. A rollout or a scale-up
that starts many downloads at once does it; the retries make it worse.

How it shows
Init containers or servers that exit with `429 Client Error: Too Many Requests` for huggingface.co, or `We had
to rate limit`; more of them the more start together.

When we stay silent
The download got through since; the 429 is of another service (a gateway that sheds load).

What we propose
Where the download is anonymous and others of its pod or namespace have a token: that token, since accounts
may ask more. Else advice: one shared copy, fewer starts at once.

Sources
ai-dynamo/dynamo#874, ai-dynamo/dynamo#3644, huggingface/Google-Cloud-Containers#145; Hugging Face
documentation, "Hub rate limits".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.downloads import Said, changed, downloads_saying, hurt_with, severity_of, uri_of
from tillerman.patterns.fault import Fault, Layer
from tillerman.patterns.init_container.accounts import TokenSecret, given_token, holds_token, token_secret

LIMITED = (
    r"(?:429 Client Error|[Cc]lient error '429).*(?:huggingface\.co|hf\.co)|HfHubHTTPError: 429"
    r"|HTTP Error 429 thrown while requesting|We had to rate limit (?:you|your IP)"
    r"|(?:huggingface\.co|hf\.co).*\b429\b"
)


@dataclass(frozen=True, kw_only=True)
class HfRateLimit(Fault):
    """Downloads of one owner that the hub turns away because there are too many."""

    layer = Layer.STAGING

    said: Said
    model: str
    token: bool
    secret: TokenSecret | None
    pods: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose downloads fail with 429."""
        for owner, found in downloads_saying(cluster, LIMITED):
            one = found[0].download
            if changed(cluster, one):
                continue
            token = holds_token(one.container)
            downloads = [s.download for s in found]
            yield cls(
                subject=owner,
                severity=severity_of(cluster, downloads),
                evidence=found[0].evidence,
                hurts=hurt_with(cluster, downloads),
                said=found[0],
                model=uri_of(cluster, one.pod),
                token=token,
                secret=None if token else token_secret(cluster, one),
                pods=len(found),
            )

    def summary(self) -> str:
        """How many downloads, with or without a token."""
        who = "with a token" if self.token else "without a token"
        what = f" of {self.model}" if self.model else ""
        return f"Hugging Face answers 429 to {counted(self.pods, 'download')}{what}, {who}: too many requests"

    def explain(self) -> list[str]:
        """From one download for each pod to the refusal."""
        counts = (
            "requests by account" if self.token else "anonymous requests by address, which the nodes share"
        )
        return [
            "each pod downloads the model for itself at each start",
            f"the hub counts {counts}, and refuses the rest: {self.said.line.text[:160]}",
            "the refused start fails, and its retries are requests too",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A token that is there already, for a download that has none."""
        if self.secret is None:
            return []
        why = f"accounts may ask more; {self.secret.used_by} takes a token from `{self.secret.name}`"
        return given_token(cluster, self.said.download, self.secret, why)

    def advice(self) -> list[str]:
        """One copy for all."""
        return [
            "keep one copy for all replicas: LocalModelCache, a ReadWriteMany volume, an OCI image; then "
            "`HF_HUB_OFFLINE=1`",
            "until then start fewer at once (maxSurge, a lower maxReplicas); the limit lifts after minutes",
        ]
