"""All objects of the kinds asked for: page by page, many at once; a refusal costs only what it refuses."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from tillerman.cluster.live.api import Api, Query, Refused
from tillerman.cluster.live.kinds import Resource
from tillerman.cluster.model import Typed
from tillerman.cluster.parse import Parsed
from tillerman.errors import ClusterError, Forbidden, Unreachable

PAGE = 500
#: Namespaces tried one by one by a reader who may not list pods everywhere.
MOST_NAMESPACES = 200

Progress = Callable[[str], None]


class _ListMeta(msgspec.Struct, rename={"next": "continue"}):
    next: str = ""


class _Page(Typed, frozen=True):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


@dataclass(kw_only=True)
class Listed:
    """One list: what was read, its pages as they came when they are kept, or why it was refused."""

    resource: Resource
    namespace: str = ""
    parsed: Parsed = field(default_factory=Parsed)
    pages: list[bytes] = field(default_factory=list)
    refused: Refused | None = None

    @property
    def title(self) -> str:
        """The kind, and the namespace when only one is read."""
        return f"{self.resource.title} in {self.namespace}" if self.namespace else self.resource.title


@dataclass(frozen=True, kw_only=True)
class Lister:
    """Lists kinds from one API server; `keep` keeps the pages as bytes for who writes them down."""

    api: Api
    progress: Progress
    keep: bool = False

    async def everything(self, resources: Sequence[Resource], namespaces: tuple[str, ...]) -> list[Listed]:
        """One list for each kind, and for each namespace where only some are asked for or may be read.

        Raises: ClusterError when credentials are not accepted, or when no list at all could be read.
        """
        found = await self._lists(
            (r, n) for r in resources for n in (namespaces if r.namespaced else ()) or ("",)
        )
        pods = next((one for one in found if one.resource.kind == "Pod"), None)
        if not namespaces and pods and pods.refused and pods.refused.forbidden:
            found = await self._by_namespace(found)
        _raise_if_nothing(found, self.api)
        return found

    async def _by_namespace(self, found: list[Listed]) -> list[Listed]:
        """The same lists, those that were refused everywhere tried in each namespace that shows its pods."""
        seen = [o.metadata.name for one in found for o in one.parsed.objects if o.kind == "Namespace"]
        candidates = seen[:MOST_NAMESPACES] or [self.api.connection.namespace]
        pods = next(one.resource for one in found if one.resource.kind == "Pod")
        tried = await self._lists((pods, name) for name in candidates)
        readable = [one.namespace for one in tried if not one.refused]
        if not readable:
            return found
        again = [o.resource for o in found if o.refused and o.refused.forbidden and o.resource.namespaced]
        more = await self._lists((r, n) for r in again if r.kind != "Pod" for n in readable)
        kept = [one for one in found if one.resource not in again]
        return [*tried, *kept, *more]

    async def _lists(self, asked: Iterable[tuple[Resource, str]]) -> list[Listed]:
        lists = [Listed(resource=resource, namespace=namespace) for resource, namespace in asked]
        await asyncio.gather(*(self._read(one) for one in lists))
        return lists

    async def _read(self, listed: Listed) -> None:
        """Fills a list; one that expires between two pages is begun again, and asked for in one piece."""
        try:
            try:
                await self._pages(listed, PAGE)
            except Refused as refused:
                if not refused.expired:
                    raise
                await self._pages(listed, None)
        except Refused as refused:
            if refused.unknown:
                raise credentials_refused(self.api) from refused
            listed.refused = refused
            listed.parsed, listed.pages = Parsed(), []

    async def _pages(self, listed: Listed, limit: int | None) -> None:
        listed.parsed, listed.pages = Parsed(), []
        query: Query = (("limit", limit),) if limit else ()
        page = query
        while True:
            answer = await self.api.get(listed.resource.path(listed.namespace), page)
            if not answer.complete:
                raise Refused(200, "the answer is too large")
            following = self._take(listed, answer.body)
            if not following:
                return
            page = (*query, ("continue", following))

    def _take(self, listed: Listed, body: bytes) -> str:
        """Reads one page; gives the token of the next one, or "" after the last."""
        try:
            following = msgspec.json.decode(body, type=_Page).metadata.next
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(200, "not an answer of a Kubernetes API server") from error
        listed.parsed.add_json(body, listed.title)
        if self.keep:
            listed.pages.append(body)
        found = listed.parsed
        count = len(found.pods) + len(found.nodes) + len(found.events) + len(found.objects)
        if following or count >= PAGE:
            self.progress(f"{listed.title}: {count:,}")
        return following


def credentials_refused(api: Api) -> ClusterError:
    """The error of a token that expired or never was one."""
    connection = api.connection
    message = f"`{connection.server}` does not accept the credentials of `{connection.name}`"
    return ClusterError(
        message, "log in again: the token may have expired; `kubectl get nodes` shows the same"
    )


def unreachable(api: Api, refused: Refused) -> ClusterError:
    """The error of a server that does not answer, or not as it should."""
    if refused.unknown:
        return credentials_refused(api)
    where = f"`{api.connection.server}` (`{api.connection.name}`)"
    if refused.status:
        return ClusterError(
            f"the API server {where} answers with {refused.status}: {refused.reason}", "try again"
        )
    hint = "check the address in the kubeconfig, the VPN or proxy, and that the cluster is up"
    if "certificate" in refused.reason:
        hint = "check `certificate-authority` and `tls-server-name` in the kubeconfig"
    return Unreachable(f"the API server {where} cannot be reached: {refused.reason}", hint)


def not_seen(lists: Sequence[Listed]) -> list[str]:
    """What the refusals cost, one line each; a kind or a namespace refused as a whole is one line."""
    refused = [(one, one.refused) for one in lists if one.refused]
    closed = {
        name
        for name in {one.namespace for one, _ in refused if one.namespace}
        if all(one.refused and one.refused.forbidden for one in lists if one.namespace == name)
    }
    lines = []
    for one, why in refused:
        same = [other for other in lists if other.resource == one.resource and other.namespace not in closed]
        if one.namespace in closed:
            lines.append(f"everything in {one.namespace}: forbidden")
        elif all(other.refused for other in same):
            lines.append(f"{one.resource.title}: {_why(why)}")
        else:
            lines.append(f"{one.title}: {_why(why)}")
    problems = [problem for one in lists for problem in one.parsed.problems]
    return list(dict.fromkeys((*lines, *problems)))


def _why(refused: Refused) -> str:
    return "gone since it was discovered" if refused.missing else refused.reason


def _raise_if_nothing(lists: Sequence[Listed], api: Api) -> None:
    refused = [one.refused for one in lists if one.refused]
    if not lists or len(refused) < len(lists):
        return
    if any(one.forbidden for one in refused):
        raise Forbidden(
            f"`{api.connection.name}` may not list anything on `{api.connection.server}`",
            "bind a ClusterRole to it that may get and list pods, nodes, events, workloads and the serving "
            "custom resources (never secrets), and get pods/log and pods/proxy",
        )
    raise unreachable(api, refused[0])
