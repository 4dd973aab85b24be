"""What a server's weights take: measured in its log, or in a sibling's, else by the model's name."""

from tillerman.cluster.enginelog import EngineLog, engine_log
from tillerman.cluster.models import model_of
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.sizing.weights import Weights, measured, weights_of


def weights_in(cluster: Snapshot, server: Server, ran: EngineLog | None = None) -> Weights | None:
    """The weights of a server's model, all its GPUs together; None when neither a log nor a name says."""
    for log in (ran, *_siblings(cluster, server)):
        if log and log.weights_gib is not None:
            return measured(log.weights_gib, log.tensor_parallel)
    quantization, dtype = server.flag("quantization"), server.flag("dtype")
    name = model_of(cluster, server)
    return weights_of(name, quantization.value if quantization else "", dtype.value if dtype else "")


def _siblings(cluster: Snapshot, server: Server) -> tuple[EngineLog, ...]:
    """The logs of the same owner's servers of the same model."""
    pods = cluster.pods_of(cluster.owner_of(server.pod))
    same = (
        s
        for pod in pods
        if (s := cluster.server_of(pod)) and model_of(cluster, s) == model_of(cluster, server)
    )
    return tuple(engine_log(cluster.log(one.pod, one.container.name)) for one in same)
