"""Which model a server serves, as far as its pod and the object it comes from name it."""

from tillerman.cluster.places import STORAGE_INITIALIZER
from tillerman.cluster.servers import Server, Servers

#: The annotation in which KServe 0.20 keeps the source of a model for its pods.
_SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"
_URIS = ("spec.predictor.model.storageUri", "spec.model.uri")


def model_of(cluster: Servers, server: Server) -> str:
    """The model's most telling name: its source, its flag or the word after `serve`; "" for none."""
    pod, owner = server.pod, cluster.object_at(cluster.owner_of(server.pod))
    initializer = pod.container(STORAGE_INITIALIZER)
    named = server.flag("model")
    words = [*server.container.command, *server.container.args]
    served = words.index("serve") + 1 if "serve" in words else 0
    names = [
        pod.metadata.annotations.get(_SOURCE, ""),
        initializer.args[0] if initializer and initializer.args else "",
        *(owner.text(uri) for uri in _URIS if owner),
        named.value if named else "",
        words[served] if served < len(words) and not words[served].startswith("-") else "",
    ]
    return next((name for name in names if name and not name.startswith("/mnt/models")), "")
