"""Small clusters written as manifests, read through the real parser."""

from datetime import UTC, datetime

import ryaml

from tillerman.cluster.index import Source
from tillerman.cluster.parse import parsed
from tillerman.cluster.snapshot import Snapshot

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def snapshot(text: str) -> Snapshot:
    found = parsed(d for d in ryaml.loads_all(text) if d)
    assert found.problems == []
    return Snapshot(
        source=Source(kind="directory", name="test", taken_at=NOW),
        pods=tuple(found.pods),
        nodes=tuple(found.nodes),
        events=tuple(found.events),
        objects=tuple(found.objects),
        kinds=frozenset(found.kinds),
    )
