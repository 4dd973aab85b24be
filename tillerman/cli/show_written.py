"""What `tillerman snapshot` wrote."""

from tillerman.cli.console import document, say
from tillerman.cluster.write import Written


def written(found: Written, json: bool) -> None:
    """Prints where the snapshot is, how much it holds, and what could not be read."""
    if json:
        counts = {"objects": found.objects, "logs": found.logs, "scrapes": found.scrapes}
        document({"path": str(found.path), **counts, "not_seen": list(found.not_seen)})
        return
    say(
        (str(found.path), "bold"),
        f": {found.objects} objects, {found.logs} logs, {found.scrapes} scrapes",
        hang=2,
    )
    lines = [line for line in found.not_seen if line != "secrets"]
    if lines:
        say("")
        say(("Not seen, so not in it", "bold"))
        for line in lines:
            say(line, indent=2, hang=2)
    say(f"`tillerman diagnose --snapshot {found.path}` reads it", hang=2)
