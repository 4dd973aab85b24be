from typing import Any

import pytest

from tillerman.cluster.change import ABSENT, Change, Edit, path_of, segments, value_at
from tillerman.cluster.model import Ref
from tillerman.errors import UsageError

REF = Ref("apps/v1", "Deployment", "chat", "llama")


def changed(raw: dict[str, Any], *edits: Edit) -> dict[str, Any]:
    return Change(target=REF, edits=edits, why="a test").apply(raw)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("spec.replicas", ("spec", "replicas")),
        ("spec.containers[0].args", ("spec", "containers", 0, "args")),
        ('spec.nodeSelector["nvidia.com/gpu.product"]', ("spec", "nodeSelector", "nvidia.com/gpu.product")),
        ('data["a\\"b"]', ("data", 'a"b')),
        ("a[0][1]", ("a", 0, 1)),
    ],
)
def test_path_is_read_and_written_the_same(path: str, parts: tuple[str | int, ...]) -> None:
    assert segments(path) == parts
    assert path_of(parts) == path


@pytest.mark.parametrize("path", ["spec[", "spec[x]", 'data["a', "a.[0]"])
def test_what_is_no_path_is_refused_with_the_place(path: str) -> None:
    with pytest.raises(UsageError, match="is not a field path at character"):
        segments(path)


def test_edit_sets_adds_and_removes_in_a_copy() -> None:
    raw = {"spec": {"replicas": 1, "paused": True}}
    after = changed(
        raw,
        Edit(path="spec.replicas", before=1, after=2),
        Edit(path="spec.template.labels", before=ABSENT, after={"a": "b"}),
        Edit(path="spec.paused", before=True, after=ABSENT),
    )
    assert after == {"spec": {"replicas": 2, "template": {"labels": {"a": "b"}}}}
    assert raw == {"spec": {"replicas": 1, "paused": True}}


def test_list_element_is_replaced_appended_and_removed() -> None:
    assert changed({"a": [1, 2]}, Edit(path="a[1]", before=2, after=3)) == {"a": [1, 3]}
    assert changed({"a": [1]}, Edit(path="a[1]", before=ABSENT, after=2)) == {"a": [1, 2]}
    assert changed({"a": [1, 2]}, Edit(path="a[0]", before=1, after=ABSENT)) == {"a": [2]}


def test_change_is_refused_when_the_field_is_no_longer_what_it_was() -> None:
    with pytest.raises(UsageError, match=r"`spec.replicas` of Deployment/chat/llama is no longer `1`"):
        changed({"spec": {"replicas": 3}}, Edit(path="spec.replicas", before=1, after=2))


def test_edit_below_something_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(UsageError, match="leads nowhere"):
        changed({"spec": "text"}, Edit(path="spec.replicas", before=ABSENT, after=2))


def test_value_at_a_path_that_is_not_there_is_absent_not_none() -> None:
    assert value_at({"a": {"b": None}}, "a.b") is None
    assert value_at({"a": {}}, "a.b") is ABSENT
    assert value_at({"a": [1]}, "a[5]") is ABSENT
    assert not ABSENT
