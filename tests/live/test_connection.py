"""From kubeconfigs good and bad to a server and credentials, or to one line that says what is wrong."""

import base64
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
import pytest

from tests.live.served import TOKEN, Served, kubeconfig
from tillerman.cluster import live
from tillerman.cluster.live.connection import Connection, connect
from tillerman.errors import ClusterError, TillermanError, UsageError

EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}


async def opened(**given: Any) -> tuple[str, str, str, str | None]:
    """Name, server, namespace and credentials of a connection, closed again."""
    connection: Connection = await connect(**given)
    key = await connection.client.configuration.get_api_key_with_prefix("BearerToken")
    await connection.client.close()  # type: ignore[no-untyped-call]
    return connection.name, connection.server, connection.namespace, key


async def refused(kind: type[TillermanError], **given: Any) -> tuple[str, str]:
    with pytest.raises(kind) as caught:
        await connect(**given)
    return caught.value.message, caught.value.hint


def plugin(folder: Path, program: str, **more: Any) -> str:
    """A kubeconfig whose user is an exec plugin that runs a Python program."""
    user = {"exec": {**EXEC, "command": sys.executable, "args": ["-c", program], **more}}
    return kubeconfig(folder / "kubeconfig", "http://127.0.0.1:1", user)


def edited(folder: Path, edit: Callable[[dict[str, Any]], object]) -> str:
    """A kubeconfig for an https server, edited."""
    path = Path(kubeconfig(folder / "kubeconfig", "https://127.0.0.1:1"))
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))
    return str(path)


def account(folder: Path) -> Path:
    """What a pod finds of its service account."""
    for name, text in (
        ("token", "t0"),
        ("namespace", "tillerman"),
        ("ca.crt", Path(certifi.where()).read_text()),
    ):
        (folder / name).write_text(text)
    return folder


def printing(status: dict[str, str], version: str = EXEC["apiVersion"]) -> str:
    said = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    return f"print({json.dumps(said)!r})"


async def test_kubeconfig_gives_server_and_token(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    assert await opened(kubeconfig=path) == ("test", "http://127.0.0.1:1", "default", f"Bearer {TOKEN}")
    assert await opened(environ={"KUBECONFIG": path}) == await opened(kubeconfig=path)


async def test_first_file_of_several_wins(tmp_path: Path) -> None:
    first = kubeconfig(tmp_path / "first", "http://127.0.0.1:1", name="one")
    second = kubeconfig(tmp_path / "second", "http://127.0.0.1:2", {"token": "other"}, name="two")
    environ = {"KUBECONFIG": os.pathsep.join([str(tmp_path / "none"), first, second])}
    assert (await opened(environ=environ))[0] == "one"
    assert await opened(environ=environ, context="two") == (
        "two",
        "http://127.0.0.1:1",
        "default",
        f"Bearer {TOKEN}",
    )


async def test_home_is_looked_in_last(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config", "http://127.0.0.1:1", name="home")
    assert (await opened(environ={"HOME": str(tmp_path)}))[0] == "home"


async def test_no_kubeconfig_is_said(tmp_path: Path) -> None:
    hint = "name one with --kubeconfig or KUBECONFIG; --snapshot DIR reads a cluster that was written down"
    assert await refused(UsageError, environ={"HOME": str(tmp_path)}) == (
        f"there is no kubeconfig at `{tmp_path}/.kube/config`, and this is not a pod",
        hint,
    )
    path = str(tmp_path / "none")
    assert await refused(UsageError, kubeconfig=path) == (f"the kubeconfig `{path}` does not exist", hint)


async def test_unknown_context_is_said_with_those_there_are(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    assert await refused(UsageError, kubeconfig=path, context="prod") == (
        f"there is no context `prod` in `{path}`",
        "choose one with --context: test",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the kubeconfig `{path}` cannot be read"),
        ("[1, 2]", "`{path}` is not a kubeconfig"),
        ("contexts: {a: b}", "`{path}` is not a kubeconfig: `contexts` is not a list of named entries"),
        ("contexts: [{name: a}]", "`{path}` has no current context"),
        (
            "{contexts: [{name: a}], current-context: a}",
            "context `a` cannot be used: Invalid kube-config file",
        ),
        ("\x00\xff", "the kubeconfig `{path}` cannot be read"),
    ],
)
async def test_broken_kubeconfig_is_said(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(text.encode("latin-1"))
    found, _ = await refused(UsageError, kubeconfig=str(path))
    assert found.startswith(message.format(path=path))


async def test_missing_certificate_is_said_with_its_place_beside_the_kubeconfig(tmp_path: Path) -> None:
    path = edited(
        tmp_path, lambda c: c["clusters"][0]["cluster"].update({"certificate-authority": "none.crt"})
    )
    message, _ = await refused(UsageError, kubeconfig=path)
    assert message == f"context `test` cannot be used: File does not exists: {tmp_path / 'none.crt'}"


async def test_certificate_that_is_none_is_said(tmp_path: Path) -> None:
    data = base64.b64encode(b"none").decode()
    path = edited(
        tmp_path, lambda c: c["clusters"][0]["cluster"].update({"certificate-authority-data": data})
    )
    message, _ = await refused(UsageError, kubeconfig=path)
    assert message.startswith("context `test` cannot be used: ")


async def test_context_without_user_is_anonymous(tmp_path: Path) -> None:
    path = edited(tmp_path, lambda c: c["contexts"][0]["context"].pop("user"))
    assert await opened(kubeconfig=path) == ("test", "https://127.0.0.1:1", "default", None)


async def test_exec_plugin_gives_the_token(tmp_path: Path) -> None:
    path = plugin(tmp_path, printing({"token": "from-plugin"}))
    assert (await opened(kubeconfig=path))[3] == "Bearer from-plugin"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.exit('expired: log in again, token=abcdefghij')", "log in again, token=\\*\\*\\*"),
        ("print('hello')", "exec: failed to decode process output"),
        (printing({}), "it printed neither a token nor a certificate"),
        (printing({"token": "x"}, "client.authentication.k8s.io/v1beta1"), "does not match"),
        ("print('[]')", "missing key"),
    ],
)
async def test_broken_exec_plugin_is_said(tmp_path: Path, program: str, why: str) -> None:
    with pytest.raises(ClusterError, match=why) as caught:
        await connect(kubeconfig=plugin(tmp_path, program))
    assert caught.value.message.startswith(f"the exec plugin `{sys.executable}` failed: ")
    assert caught.value.hint == f"run `{sys.executable}` by hand, as the kubeconfig says it"
    assert caught.value.exit_status == 3


async def test_missing_exec_plugin_is_said_with_its_own_hint(tmp_path: Path) -> None:
    path = plugin(tmp_path, "", command="no-such-plugin", installHint="install no-such-plugin")
    assert await refused(ClusterError, kubeconfig=path) == (
        "the exec plugin `no-such-plugin` failed: no such program",
        "run `no-such-plugin` by hand, as the kubeconfig says it; install no-such-plugin",
    )


def test_expired_plugin_token_is_asked_for_again(small: Served, tmp_path: Path) -> None:
    """The plugin gives an old token the first time; the server's 401 makes the reader ask it once more."""
    count, said = tmp_path / "count", printing({"token": "TOKEN"})
    program = (
        f"import pathlib; p = pathlib.Path({str(count)!r}); n = len(p.read_text()) if p.exists() else 0\n"
        f"p.write_text('x' * (n + 1)); token = {TOKEN!r} if n else 'old'\n"
        + said.replace("TOKEN", "'+token+'")
    )
    user = {"exec": {**EXEC, "command": sys.executable, "args": ["-c", program]}}
    path = kubeconfig(tmp_path / "kubeconfig", small.url, user)
    snapshot = live.read(live.Options(kubeconfig=path, scrape_gap_s=0.0, timeout_s=5.0))
    assert len(snapshot.pods) == 4
    assert count.read_text() == "xx"


async def test_impersonation_is_kept(tmp_path: Path, small: Served) -> None:
    path = kubeconfig(tmp_path / "kubeconfig", small.url, {"token": TOKEN, "as": "system:serviceaccount:a:b"})
    connection = await connect(kubeconfig=path)
    assert connection.client.default_headers["Impersonate-User"] == "system:serviceaccount:a:b"
    await connection.client.close()  # type: ignore[no-untyped-call]


async def test_pod_uses_its_service_account(tmp_path: Path) -> None:
    environ = {
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "HOME": str(tmp_path),
    }
    found = await opened(environ=environ, account=account(tmp_path))
    assert found == ("in-cluster", "https://10.96.0.1:443", "tillerman", "bearer t0")


async def test_pod_without_service_account_is_said(tmp_path: Path) -> None:
    environ = {
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "HOME": str(tmp_path),
    }
    message, hint = await refused(UsageError, environ=environ, account=tmp_path)
    assert message == "this pod has no credentials for its cluster: Service token file does not exist."
    assert hint == "give the pod a service account, and do not set automountServiceAccountToken: false"
