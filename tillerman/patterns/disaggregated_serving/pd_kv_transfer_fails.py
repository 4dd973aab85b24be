"""KV caches do not get from prefill to decode: one of the two cannot reach the other's memory.

What happens
Decode servers read the KV cache from the prefill server's memory by NIXL and UCX, best through RDMA. Where
one role has no RDMA device, may not lock memory, announces a wrong address or uses another transport, or
where a policy lies between them, each transfer fails: the request fails too, or is prefilled a second time.

How it shows
`vllm:nixl_num_failed_transfers_total` grows at decode servers, or blocks expire at prefill servers; NIXL or
UCX errors in the last half hour; and the roles' resources, variables, capabilities or policies differ.

When we stay silent
The counters stand still, or grew by one or two; errors are old; the roles' caches do not fit (another fault).

What we propose
The resource, variable or capability of the other role, at the role that lacks it; a rule in the policy.

Sources
ai-dynamo/nixl#503, #1614, #1983; vllm-project/vllm#22866, #50754; llm-d router 0.10 P/D manifests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.disaggregated_serving.pd_incompatible_config import differences
from tillerman.patterns.disaggregated_serving.roles import Failing, Pair, failing, hurt_by, pairs, younger
from tillerman.patterns.disaggregated_serving.transport import Lack, lacks_of
from tillerman.patterns.fault import Fault, Layer, seen_object


@dataclass(frozen=True, kw_only=True)
class PdKvTransferFails(Fault):
    """One pair of roles whose transfers fail, and what one of them lacks, as far as that is seen."""

    layer = Layer.ENGINE

    pair: Pair
    failing: Failing
    lacks: tuple[Lack, ...]

    @property
    def lack(self) -> Lack | None:
        """What weighs most of what one role lacks."""
        return next(iter(self.lacks), None)

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Pairs with transfers that fail now though their caches fit."""
        for pair in pairs(cluster):
            fails = failing(cluster, pair)
            late, _ = younger(cluster, pair)
            if fails is None or fails.mismatch or any(True for _ in differences(cluster, pair, late)):
                continue
            lacks = lacks_of(cluster, pair)
            lack = next(iter(lacks), None)
            touched = {cluster.owner_of(server.pod).key for server in pair.servers} & cluster.whatif
            policies = {key for key in cluster.whatif if key[0] == "NetworkPolicy"}
            if lack or (fails.hard and not touched and not policies):
                yield cls(
                    subject=lack.subject if lack else cluster.owner_of(fails.servers[0].pod),
                    severity="warning",
                    evidence=(*(seen_object(*seen) for seen in (lack.seen if lack else ())), *fails.evidence),
                    hurts=hurt_by(cluster, pair),
                    certainty="proven" if lack else "likely",
                    pair=pair,
                    failing=fails,
                    lacks=lacks,
                )

    def summary(self) -> str:
        """How many transfers, and what is lacking."""
        count = (
            f"{self.failing.count:.0f} KV transfers failed between two scrapes" if self.failing.count else ""
        )
        said = self.lack.said if self.lack else "the roles are alike as far as manifests tell"
        return f"{count or 'KV transfers between prefill and decode fail'}: {said}"

    def explain(self) -> list[str]:
        """From what is lacking to the requests."""
        return [
            *([lack.said for lack in self.lacks] or ["both roles have the same devices and capabilities"]),
            "so a decode server cannot read the KV cache that a prefill server made for it",
            "the request fails, or the decode server prefills it again and its other requests wait",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """What the other role has."""
        return [lack.change for lack in self.lacks if lack.change]

    def advice(self) -> list[str]:
        """How to look between the two."""
        pod = self.failing.servers[0].pod
        return [
            f"`kubectl -n {pod.namespace} logs {pod.name} | grep -iE 'nixl|ucx'` shows why each one fails",
            "`ucx_info -d` in a pod of each role lists the devices UCX can use; the lists should be alike",
            "`kv_load_failure_policy: recompute` in --kv-transfer-config keeps requests alive meanwhile",
        ]
