"""A plain HTTP client of the API server: objects in, objects out, nothing validated on our side.

`kubectl apply` fetches the whole OpenAPI document, which costs the server 450 MiB and ten seconds.
This does not.
"""

import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from .errors import ApiError

Object = dict[str, Any]
TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True)
class Resource:
    """How a kind is reached: its plural, whether it has a namespace, and its subresources."""

    path: str
    plural: str
    namespaced: bool
    subresources: frozenset[str]

    def collection(self, namespace: str = "") -> str:
        """The URL path of all objects, or of those of a namespace."""
        inside = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.path}{inside}/{self.plural}"


class Client:
    """Requests as one identity. A context manager, or call `close`."""

    def __init__(self, url: str, ca: str, token: str) -> None:
        """Trust `ca` (PEM text) only, and carry `token` when it is not empty."""
        self.url = url
        self._resources: dict[tuple[str, str], Resource] = {}
        self._http = httpx.Client(
            base_url=url,
            verify=ssl.create_default_context(cadata=ca),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    def request(self, method: str, path: str, body: Any = None, **parameters: str) -> httpx.Response:
        """The answer to one request, whatever it is."""
        headers = {"Content-Type": _CONTENT_TYPES.get(method, "application/json")}
        if isinstance(body, list):
            headers["Content-Type"] = "application/json-patch+json"
        kwargs = {} if body is None else {"json": body, "headers": headers}
        return self._http.request(method, path, params=parameters, **kwargs)

    def call(self, method: str, path: str, body: Any = None, **parameters: str) -> Object:
        """The object answered. Raises `ApiError` for every answer that is not a success."""
        answer = self.request(method, path, body, **parameters)
        if answer.is_success:
            found: Object = answer.json()
            return found
        try:
            status = answer.json()
        except ValueError:
            status = {}
        raise ApiError(
            answer.status_code, status.get("reason", ""), status.get("message", answer.text.strip())
        )

    def text(self, path: str, **parameters: str) -> str:
        """The text answered, such as a log or a scrape. Raises `ApiError` as `call` does."""
        answer = self.request("GET", path, **parameters)
        if not answer.is_success:
            raise ApiError(answer.status_code, "", answer.text.strip())
        return answer.text

    def is_ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            return self.request("GET", "/readyz").is_success
        except httpx.TransportError:
            return False

    def resource(self, api_version: str, kind: str) -> Resource:
        """How a kind is reached, as discovery says. Raises `ApiError` 404 when it is not served."""
        key = api_version, kind
        if key not in self._resources:
            self._discover(api_version)
        if key not in self._resources:
            raise ApiError(404, "NotFound", f"the server does not know `{kind}` in `{api_version}`")
        return self._resources[key]

    def path_of(self, thing: Object) -> str:
        """The URL path of an object, from its apiVersion, kind, namespace and name."""
        meta = thing["metadata"]
        resource = self.resource(thing["apiVersion"], thing["kind"])
        return f"{resource.collection(meta.get('namespace') or 'default')}/{meta['name']}"

    def create(self, thing: Object) -> Object:
        """The object as created. Raises `ApiError`."""
        return self.call("POST", self.path_of(thing).rpartition("/")[0], thing)

    def ensure(self, thing: Object) -> Object:
        """The object as created, or as it was replaced when it was already there."""
        try:
            return self.create(thing)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        path = self.path_of(thing)
        version = self.call("GET", path)["metadata"]["resourceVersion"]
        return self.call(
            "PUT", path, {**thing, "metadata": {**thing["metadata"], "resourceVersion": version}}
        )

    def get(self, api_version: str, kind: str, name: str, namespace: str = "default") -> Object:
        """One object. Raises `ApiError`."""
        return self.call("GET", f"{self.resource(api_version, kind).collection(namespace)}/{name}")

    def list(self, api_version: str, kind: str, namespace: str = "", **parameters: str) -> list[Object]:
        """All objects of a kind, or those of one namespace. Raises `ApiError`."""
        found: list[Object] = self.call(
            "GET", self.resource(api_version, kind).collection(namespace), None, **parameters
        )["items"]
        return found

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def _discover(self, api_version: str) -> None:
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        listed = self.call("GET", path)["resources"]
        for each in listed:
            if "/" not in each["name"]:
                prefix = f"{each['name']}/"
                under = frozenset(
                    r["name"].removeprefix(prefix) for r in listed if r["name"].startswith(prefix)
                )
                self._resources[api_version, each["kind"]] = Resource(
                    path=path, plural=each["name"], namespaced=each["namespaced"], subresources=under
                )


_CONTENT_TYPES = {"PATCH": "application/merge-patch+json"}
