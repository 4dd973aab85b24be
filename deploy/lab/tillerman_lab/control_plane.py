"""The processes of a control plane and how they are told of each other: etcd, API server, controllers."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import etcd, identities
from .addresses import KSERVE_PORT, LLMISVC_PORT, LOOPBACK, SERVICE_IP, SERVICE_RANGE
from .build import binary
from .client import Client, Object
from .load import Loaded, load_objects
from .places import HOME
from .ports import Ports
from .processes import Processes
from .waiting import Found

READY_WITHIN_S = 120
AS_RECORDED = (
    "ServiceAccount,DefaultTolerationSeconds,Priority,LimitRanger,ResourceQuota,TaintNodesByCondition,RuntimeClass,"
    "StorageObjectInUseProtection,PodTopologyLabels,DefaultStorageClass,DefaultIngressClass,"
    "MutatingAdmissionWebhook,ValidatingAdmissionWebhook,MutatingAdmissionPolicy,ValidatingAdmissionPolicy"
)
"""Admission plugins that would change or refuse objects which another cluster has already admitted."""


@dataclass(kw_only=True)
class ControlPlane:
    """A running control plane. Its `admin` client speaks as the cluster's administrator."""

    folder: Path
    ports: Ports
    processes: Processes
    speed: float = 1.0
    recordings: Path | None = None
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    ca: str = field(default="", repr=False)
    admin: Client = field(init=False, repr=False)

    @property
    def url(self) -> str:
        """Where the API server listens."""
        return f"https://{LOOPBACK}:{self.ports.api}"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig with all identities as contexts; the current one is the administrator's."""
        return self.folder / "kubeconfig"

    def kubeconfig_of(self, identity: str) -> Path:
        """The kubeconfig of one identity alone."""
        return self.folder / f"{identity}.kubeconfig"

    def client(self, identity: str) -> Client:
        """A client that speaks as one identity; the caller closes it."""
        return Client(self.url, self.ca, self.tokens[identity])

    def start(self, as_recorded: bool = False) -> None:
        """Start egress, etcd and the API server, and wait until it is ready.

        With `as_recorded`, objects are taken as they are given: nothing is defaulted from other objects,
        nothing refused by policy, and the built-in kinds are stored as JSON.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        tokens = self.folder / "tokens.csv"
        if not tokens.exists():
            identities.make_tokens(tokens)
        self.tokens = identities.read_tokens(tokens)
        self._start_egress()
        self.processes.start("etcd", self._etcd())
        self.processes.start("kube-apiserver", self._api_server(as_recorded))
        certificate = self.folder / "pki" / "apiserver.crt"
        self.processes.wait_until("the API server's certificate", certificate.exists, READY_WITHIN_S)
        self.ca = certificate.read_text()
        self.admin = self.client("admin")
        self._write_kubeconfigs()
        self.processes.wait_until("the API server being ready", self.admin.is_ready, READY_WITHIN_S)

    def wait_for(self, what: str, found: Callable[[], Found], within_s: float = READY_WITHIN_S) -> Found:
        """The first answer of `found` that counts as true.

        Raises `LabError` when there is none in time, or when a program of the control plane has ended.
        """
        return self.processes.wait_until(what, found, within_s)

    def load(self, objects: Iterable[Object], exact: bool = True) -> Loaded:
        """Load recorded objects (see `load_objects`); exactly, with their uids, generations and times.

        `exact` needs a control plane that was started `as_recorded`.
        """
        loaded = load_objects(self.admin, objects, with_status=not exact)
        if exact:
            etcd.restore(self.ports.etcd, loaded)
        return loaded

    def start_controllers(self) -> None:
        """Start the scheduler and the controller manager."""
        common = [
            *(f"--{use}kubeconfig={self.kubeconfig}" for use in ("", "authentication-", "authorization-")),
            "--leader-elect=false",
            f"--bind-address={LOOPBACK}",
            "--cert-dir=pki",
            "--profiling=false",
        ]
        signing = [
            "--service-account-private-key-file=pki/apiserver.key",
            "--root-ca-file=pki/apiserver.crt",
            "--use-service-account-credentials=false",
            f"--secure-port={self.ports.controllers}",
        ]
        self.processes.start(
            "kube-scheduler",
            [str(binary("kube-scheduler")), *common, f"--secure-port={self.ports.scheduler}"],
        )
        self.processes.start(
            "kube-controller-manager", [str(binary("kube-controller-manager")), *common, *signing]
        )

    def stop(self) -> None:
        """Stop everything, the last first."""
        if hasattr(self, "admin"):
            self.admin.close()
        self.processes.stop()

    def _start_egress(self) -> None:
        """Start the only way out of the API server; it must answer before the server is there."""
        socket = self.folder / "egress.sock"
        selector = {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [
                {
                    "name": name,
                    "connection": {
                        "proxyProtocol": "HTTPConnect",
                        "transport": {"uds": {"udsName": str(socket)}},
                    },
                }
                for name in ("cluster", "controlplane")
            ],
        }
        (self.folder / "egress.yaml").write_text(json.dumps(selector))
        config = {
            "socket": str(socket),
            "api": self.url,
            "token": self.tokens["admin"],
            "certificate": str(self.folder / "pki" / "apiserver.crt"),
            "key": str(self.folder / "pki" / "apiserver.key"),
            "kubelet": self.ports.kubelet,
            "open": list(range(self.ports.base, self.ports.base + 13)),
            "mapped": {
                f"{SERVICE_IP}:{KSERVE_PORT}": self.ports.kserve[0],
                f"{SERVICE_IP}:{LLMISVC_PORT}": self.ports.llmisvc[0],
                f"{SERVICE_IP}:443": self.ports.api,
            },
            "speed": self.speed,
            "recordings": str(self.recordings) if self.recordings else "",
        }
        private = self.folder / "egress.json"
        private.touch(mode=0o600)
        private.write_text(json.dumps(config))
        argv = [sys.executable, "-m", "tillerman_lab.egress", str(private)]
        self.processes.start("egress", argv, {"PYTHONPATH": str(HOME)})
        self.processes.wait_until("the egress proxy", socket.is_socket, READY_WITHIN_S)

    def _etcd(self) -> list[str]:
        clients, peers = (f"http://{LOOPBACK}:{port}" for port in (self.ports.etcd, self.ports.etcd_peer))
        return [
            str(binary("etcd")),
            "--name=lab",
            "--data-dir=etcd",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            "--unsafe-no-fsync",
            "--log-level=error",
        ]

    def _api_server(self, as_recorded: bool) -> list[str]:
        lenient = [f"--disable-admission-plugins={AS_RECORDED}", "--storage-media-type=application/json"]
        return [
            str(binary("kube-apiserver")),
            f"--etcd-servers=http://{LOOPBACK}:{self.ports.etcd}",
            "--cert-dir=pki",
            f"--bind-address={LOOPBACK}",
            f"--advertise-address={LOOPBACK}",
            f"--secure-port={self.ports.api}",
            "--token-auth-file=tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-signing-key-file=pki/apiserver.key",
            "--service-account-key-file=pki/apiserver.key",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--allow-privileged=true",
            "--enable-priority-and-fairness=false",
            "--profiling=false",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP,Hostname",
            "--egress-selector-config-file=egress.yaml",
            *(lenient if as_recorded else []),
        ]

    def _write_kubeconfigs(self) -> None:
        files = {self.kubeconfig: self.tokens}
        files |= {self.kubeconfig_of(name): {name: token} for name, token in self.tokens.items()}
        for path, tokens in files.items():
            current = "admin" if "admin" in tokens else next(iter(tokens))
            path.touch(mode=0o600)
            path.write_text(identities.kubeconfig(self.url, self.ca, tokens, current))
