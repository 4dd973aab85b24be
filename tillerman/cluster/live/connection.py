"""From a kubeconfig, or from inside a pod, to a client of the official library with credentials."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ryaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.exec_provider import ExecProvider
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME, InClusterConfigLoader
from kubernetes.aio.config.kube_config import ConfigNode, FileOrData, KubeConfigLoader

from tillerman.cluster.masking import masked_text
from tillerman.errors import ClusterError, UsageError

IN_CLUSTER = "in-cluster"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: How long a plugin may take: long enough for a login in a browser.
PLUGIN_TIMEOUT_S = 120.0

_SECTIONS = ("clusters", "contexts", "users")
_HINT = "name one with --kubeconfig or KUBECONFIG; --snapshot DIR reads a cluster that was written down"
#: What the official loader raises on a kubeconfig that is out of shape.
_OUT_OF_SHAPE = (ConfigException, OSError, ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A client with credentials, the way to renew them, and the context's name, server and namespace."""

    name: str
    client: ApiClient
    renew: Callable[[], Awaitable[None]]
    namespace: str = "default"

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self.client.configuration.host)


class _Loader(KubeConfigLoader):
    """The official loader, but an exec plugin that fails says so instead of leaving the reader anonymous."""

    plugin_timeout_s = PLUGIN_TIMEOUT_S

    def set_active_context(self, context_name: str | None = None) -> None:
        super().set_active_context(context_name)  # type: ignore[no-untyped-call]
        if self._user is None:  # a context without a user: the official loader trips over it on https
            self._user = ConfigNode("user", {})  # type: ignore[no-untyped-call]

    async def load_from_exec_plugin(self) -> bool:
        plugin = self._user["exec"] if self._user is not None else ConfigNode("exec", {})  # type: ignore[no-untyped-call]
        command = str(plugin.safe_get("command") or "")
        try:
            given = await asyncio.wait_for(ExecProvider(plugin).run(), self.plugin_timeout_s)  # type: ignore[no-untyped-call]
            self._take(given)
        except TimeoutError as error:
            why = f"not done after {self.plugin_timeout_s:g} s"
            raise _plugin_error(command, why, "it may wait for a login") from error
        except FileNotFoundError as error:
            raise _plugin_error(
                command, "no such program", str(plugin.safe_get("installHint") or "")
            ) from error
        except _OUT_OF_SHAPE as error:
            raise _plugin_error(command, _first_line(error), "") from error
        return True

    def _take(self, given: Mapping[str, Any]) -> None:
        if "token" in given:
            self.token = f"Bearer {given['token']}"
        elif "clientCertificateData" in given and "clientKeyData" in given:
            for name, field in (("cert_file", "clientCertificateData"), ("key_file", "clientKeyData")):
                held = FileOrData(given, "", data_key_name=field, base64_file_content=False)  # type: ignore[no-untyped-call]
                setattr(self, name, held.as_file())  # type: ignore[no-untyped-call]
        else:
            raise ConfigException("it printed neither a token nor a certificate")


def _plugin_error(command: str, why: str, hint: str) -> ClusterError:
    by_hand = f"run `{command}` by hand, as the kubeconfig says it"
    return ClusterError(
        f"the exec plugin `{command}` failed: {why}", "; ".join(x for x in (by_hand, hint) if x)
    )


async def connect(
    context: str | None = None,
    kubeconfig: str | None = None,
    environ: Mapping[str, str] = os.environ,
    account: Path = ACCOUNT,
) -> Connection:
    """The connection that kubectl would make, with the same kubeconfig, context and plugins.

    Raises: UsageError when there is none or it cannot be read, ClusterError when a plugin fails.
    """
    paths = [path for path in _paths(kubeconfig, environ) if path.is_file()]
    if paths:
        return await _from_files(paths, context)
    if kubeconfig:
        raise UsageError(f"the kubeconfig `{kubeconfig}` does not exist", _HINT)
    if SERVICE_HOST_ENV_NAME in environ:
        return _from_pod(context, environ, account)
    looked = ", ".join(f"`{path}`" for path in _paths(kubeconfig, environ))
    raise UsageError(f"there is no kubeconfig at {looked}, and this is not a pod", _HINT)


def _paths(kubeconfig: str | None, environ: Mapping[str, str]) -> list[Path]:
    if kubeconfig:
        return [Path(kubeconfig).expanduser()]
    named = [Path(name).expanduser() for name in environ.get("KUBECONFIG", "").split(os.pathsep) if name]
    return named or [Path(environ.get("HOME") or Path.home()) / ".kube" / "config"]


async def _from_files(paths: list[Path], context: str | None) -> Connection:
    config = _merged(paths)
    name = context or str(config.get("current-context") or "")
    known = [_value(entry).get("name") for entry in config["contexts"]]
    if not name:
        raise UsageError(f"`{paths[0]}` has no current context", _choose(known))
    if name not in known:
        raise UsageError(
            f"there is no context `{name}` in {' or '.join(f'`{path}`' for path in paths)}", _choose(known)
        )
    configuration = Configuration()
    # Python 3.13 refuses authorities without an authority key identifier; Go, and so kubectl, does not.
    configuration.disable_strict_ssl_verification = True
    try:
        loader = _Loader(  # type: ignore[no-untyped-call]
            ConfigNode("kubeconfig", config),  # type: ignore[no-untyped-call]
            active_context=name,
            config_base_path=None,  # files are named from where their kubeconfig is
        )
        await loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        client = _client(configuration)
        _impersonate(client, loader._user)
        namespace = loader.current_context["context"].get("namespace") or "default"
    except _OUT_OF_SHAPE as error:
        raise UsageError(f"context `{name}` cannot be used: {_first_line(error)}", _HINT) from error

    async def renew() -> None:
        try:
            await loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        except _OUT_OF_SHAPE as error:
            raise ClusterError(
                f"the credentials of `{name}` cannot be renewed: {_first_line(error)}"
            ) from error

    return Connection(name=name, client=client, renew=renew, namespace=str(namespace))


def _from_pod(context: str | None, environ: Mapping[str, str], account: Path) -> Connection:
    if context:
        raise UsageError(f"there is no context `{context}`: this is a pod without a kubeconfig", _HINT)
    configuration = Configuration()
    configuration.disable_strict_ssl_verification = True
    loader = InClusterConfigLoader(  # type: ignore[no-untyped-call]
        token_filename=str(account / "token"), cert_filename=str(account / "ca.crt"), environ=environ
    )
    try:
        loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        client = _client(configuration)
    except (ConfigException, OSError) as error:
        hint = "give the pod a service account, and do not set automountServiceAccountToken: false"
        raise UsageError(
            f"this pod has no credentials for its cluster: {_first_line(error)}", hint
        ) from error

    async def renew() -> None:
        try:
            loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        except (ConfigException, OSError) as error:
            raise ClusterError(f"the pod's credentials cannot be renewed: {_first_line(error)}") from error

    held = account / "namespace"
    namespace = held.read_text("utf-8").strip() if held.is_file() else "default"
    return Connection(name=IN_CLUSTER, client=client, renew=renew, namespace=namespace)


def _client(configuration: Configuration) -> ApiClient:
    client = ApiClient(configuration)
    client.set_default_header("User-Agent", "tillerman")  # type: ignore[no-untyped-call]
    return client


def _impersonate(client: ApiClient, user: ConfigNode | None) -> None:
    """Asks as whom the kubeconfig's `as` names, as kubectl does; the official loader leaves it out."""
    name = user.safe_get("as") if user is not None else None  # type: ignore[no-untyped-call]
    if name:
        client.set_default_header("Impersonate-User", str(name))  # type: ignore[no-untyped-call]


def _merged(paths: list[Path]) -> dict[str, Any]:
    """One kubeconfig of several: the first to name a thing wins, as with kubectl; entries know their file."""
    config: dict[str, Any] = {section: [] for section in _SECTIONS}
    for path in paths:
        document = _document(path)
        config["current-context"] = config.get("current-context") or document.get("current-context")
        for section in _SECTIONS:
            names = {_value(entry)["name"] for entry in config[section]}
            for entry in _entries(document, section, path):
                if entry["name"] not in names:
                    config[section].append(ConfigNode(f"{path}/{entry['name']}", entry, str(path)))  # type: ignore[no-untyped-call]
    return config


def _document(path: Path) -> dict[str, Any]:
    try:
        found = ryaml.loads(path.read_text("utf-8"))
    except (OSError, ValueError, ryaml.InvalidYamlError) as error:
        raise UsageError(f"the kubeconfig `{path}` cannot be read: {_first_line(error)}", _HINT) from error
    if not isinstance(found, dict):
        raise UsageError(f"`{path}` is not a kubeconfig", _HINT)
    return found


def _entries(document: dict[str, Any], section: str, path: Path) -> Iterator[dict[str, Any]]:
    listed = document.get(section) or []
    for entry in listed if isinstance(listed, list) else [None]:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise UsageError(
                f"`{path}` is not a kubeconfig: `{section}` is not a list of named entries", _HINT
            )
        yield entry


def _value(entry: ConfigNode) -> dict[str, Any]:
    value: dict[str, Any] = entry.value
    return value


def _choose(known: list[Any]) -> str:
    return f"choose one with --context: {', '.join(map(str, known))}" if known else _HINT


def _first_line(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return masked_text(text.splitlines()[0])[:300]
