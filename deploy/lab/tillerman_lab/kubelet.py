"""The one kubelet that answers for every node: container logs, as `kubectl logs` asks for them."""

from datetime import UTC, datetime
from pathlib import Path

from .loglines import Line, lines_of, status_of
from .view import View
from .web import Answer


class Kubelet:
    """The part of the kubelet's API that the API server calls for logs."""

    def __init__(self, view: View, recordings: Path | None) -> None:
        """With `recordings`, a snapshot directory, its logs are answered and nothing is composed."""
        self._view = view
        self._recordings = recordings

    async def answer(self, method: str, path: str, query: dict[str, str]) -> Answer:
        """The answer to one request."""
        match path.strip("/").split("/"):
            case ["healthz"]:
                return Answer(200, "ok")
            case ["containerLogs", namespace, name, container]:
                if self._recordings:
                    return self._recorded(self._recordings / "logs" / namespace / name, container, query)
                return await self._composed(namespace, name, container, query)
        return Answer(404, "404 page not found\n")

    async def _composed(self, namespace: str, name: str, container: str, query: dict[str, str]) -> Answer:
        previous = query.get("previous") == "true"
        pod = await self._view.pod(namespace, name)
        if pod is None:
            return Answer(404, f'pod "{name}" does not exist\n')
        if status_of(pod, container) is None:
            return Answer(404, f'container "{container}" not found in pod "{name}"\n')
        speed = float(pod["metadata"].get("annotations", {}).get("lab/speed", self._view.speed))
        lines = lines_of(pod, container, previous, datetime.now(UTC), speed)
        if lines is None:
            return _no_log(name, container, previous)
        return Answer(200, _chosen(lines, query))

    def _recorded(self, folder: Path, container: str, query: dict[str, str]) -> Answer:
        previous = query.get("previous") == "true"
        path = folder / (f"{container}.previous.log" if previous else f"{container}.log")
        if not path.is_file():
            return _no_log(folder.name, container, previous)
        return Answer(200, _tail(path.read_text(errors="replace").splitlines(), query))


def _no_log(name: str, container: str, previous: bool) -> Answer:
    if previous:
        return Answer(400, f'previous terminated container "{container}" in pod "{name}" not found\n')
    return Answer(400, f'container "{container}" in pod "{name}" is waiting to start: ContainerCreating\n')


def _chosen(lines: list[Line], query: dict[str, str]) -> str:
    """The lines that a query wants, in the form it wants them."""
    since = _since(query)
    wanted = [line for line in lines if since is None or line.at >= since]
    if query.get("timestamps") == "true":
        return _tail([f"{line.at:%Y-%m-%dT%H:%M:%S.%f}000Z {line.text}" for line in wanted], query)
    return _tail([line.text for line in wanted], query)


def _since(query: dict[str, str]) -> datetime | None:
    if "sinceTime" in query:
        return datetime.fromisoformat(query["sinceTime"]).astimezone(UTC)
    if "sinceSeconds" in query:
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() - int(query["sinceSeconds"]), UTC)
    return None


def _tail(lines: list[str], query: dict[str, str]) -> str:
    if "tailLines" in query:
        lines = lines[max(len(lines) - int(query["tailLines"]), 0) :]
    text = "".join(f"{line}\n" for line in lines)
    limit = query.get("limitBytes")
    return text[: int(limit)] if limit else text
