import orjson

from tillerman.cluster.parse import Parsed

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "llama", "namespace": "chat"},
}


def pod(name: str, **spec: object) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "chat"}, "spec": spec}


def read(document: object) -> Parsed:
    found = Parsed()
    found.add_json(orjson.dumps(document), "here.json")
    return found


def test_json_list_of_mixed_kinds_keeps_each() -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    found = read({"apiVersion": "v1", "kind": "List", "items": [pod("a"), DEPLOYMENT, pod("b"), node]})
    assert [p.name for p in found.pods] == ["a", "b"]
    assert [n.name for n in found.nodes] == ["n1"]
    assert [str(o.ref) for o in found.objects] == ["Deployment/chat/llama"]
    assert found.problems == []


def test_items_of_a_typed_list_take_their_kind_from_it() -> None:
    items = [
        {"metadata": {"name": "a", "namespace": "chat"}},
        {"metadata": {"name": "b", "namespace": "chat"}},
    ]
    found = read({"apiVersion": "v1", "kind": "PodList", "items": items})
    assert [str(p.ref) for p in found.pods] == ["Pod/chat/a", "Pod/chat/b"]
    found = read({"apiVersion": "apps/v1", "kind": "DeploymentList", "items": items})
    assert [str(o.ref) for o in found.objects] == ["Deployment/chat/a", "Deployment/chat/b"]


def test_empty_typed_list_says_that_the_kind_was_seen() -> None:
    assert read({"apiVersion": "v1", "kind": "EventList", "items": []}).kinds == {"Event"}
    assert read({"apiVersion": "v1", "kind": "EventList", "items": None}).kinds == {"Event"}


def test_null_fields_are_taken_as_not_set() -> None:
    found = read(pod("a", containers=[{"name": "main", "args": None, "resources": None}], tolerations=None))
    assert found.problems == []
    assert found.pods[0].spec.containers[0].args == ()


def test_number_for_text_is_taken_and_a_shape_that_is_wrong_costs_one_object() -> None:
    items = [pod("bad", containers="none"), pod("good", containers=[{"name": "main"}]), 7]
    found = read({"apiVersion": "v1", "kind": "List", "items": items})
    assert [p.name for p in found.pods] == ["good"]
    assert len(found.problems) == 2
    assert found.problems[0].startswith("here.json: Pod bad: ")


def test_what_is_not_json_costs_one_line_that_names_the_file() -> None:
    for text in (b'{"a":', b"\x00\xff", b"[1,2]", b"plain"):
        found = Parsed()
        found.add_json(text, "here.json")
        assert len(found.problems) == 1
        assert found.problems[0].startswith("here.json: not JSON")


def test_secret_is_never_kept() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"token": "c2VjcmV0"}}
    found = read({"apiVersion": "v1", "kind": "List", "items": [secret]})
    assert (found.objects, found.kinds, found.problems) == ([], set(), [])
    found.add_yaml("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n", "here.yaml")
    assert (found.objects, found.problems) == ([], [])


def test_tokens_are_masked_wherever_they_stand() -> None:
    token = "hf_" + "a" * 30
    env = [
        {"name": "HF_TOKEN", "value": token},
        {"name": "MAX_TOKENS", "value": "4096"},
        {"name": "X", "value": f"a {token}"},
    ]
    found = read(
        pod("a", containers=[{"name": "main", "env": env, "args": ["--api-key", "abcdefgh", f"--t={token}"]}])
    )
    main = found.pods[0].spec.containers[0]
    assert [e.value for e in main.env] == ["***", "4096", "a ***"]
    assert main.args == ("--api-key", "***", "--t=***")
    data = {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "c"},
        "data": {"db_password": "x1y2z3", "a": "b"},
    }
    assert read(data).objects[0].table("data") == {"db_password": "***", "a": "b"}
    template = {"spec": {"template": {"spec": {"containers": [{"name": "m", "env": env}]}}}}
    text = orjson.dumps(read({**DEPLOYMENT, **template}).objects[0].raw).decode()
    assert token not in text


def test_last_applied_configuration_is_dropped() -> None:
    notes = {"kubectl.kubernetes.io/last-applied-configuration": "{...}", "kept": "yes"}
    found = read({**DEPLOYMENT, "metadata": {"name": "llama", "annotations": notes}})
    assert found.objects[0].raw["metadata"]["annotations"] == {"kept": "yes"}


def test_yaml_of_several_documents_and_lists() -> None:
    found = Parsed()
    pod_text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
    list_text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: n}}\n"
    found.add_yaml(f"---\n{pod_text}---\n---\n{list_text}", "x.yaml")
    assert ([p.name for p in found.pods], [n.name for n in found.nodes]) == (["a"], ["n"])
    found.add_yaml("a: [1", "y.yaml")
    found.add_yaml("just text", "z.yaml")
    assert [p.split(":")[0] for p in found.problems] == ["y.yaml", "z.yaml"]


def test_event_of_either_api_answers_the_same() -> None:
    core = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e1", "namespace": "chat"},
        "reason": "BackOff",
        "involvedObject": {"kind": "Pod", "namespace": "chat", "name": "a"}, "message": "text", "count": 3,
        "lastTimestamp": "2026-11-20T00:00:00Z",
    }  # fmt: skip
    new = {
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e2", "namespace": "chat"},
        "reason": "BackOff", "regarding": {"kind": "Pod", "namespace": "chat", "name": "a"}, "note": "text",
        "series": {"count": 3, "lastObservedTime": "2026-11-20T00:00:00.000000Z"}, "eventTime": None,
    }  # fmt: skip
    told = [
        (e.about.name, e.text, e.times, e.last_seen)
        for e in read({"kind": "List", "items": [core, new]}).events
    ]
    assert told[0] == told[1]
