"""The words of vLLM 0.32.0, in order, with the numbers of one boot; `%TIME%` stands for the line's time.

Source: the log of a real 0.32.0 start and of real failing starts, with the lines that only a GPU build prints
taken from its source (2026-11-23).
"""

from collections.abc import Iterator
from dataclasses import dataclass

API = "(APIServer pid=1) INFO %TIME%"
CORE = "(EngineCore pid=184) INFO %TIME%"
CORE_ERROR = "(EngineCore pid=184) ERROR %TIME% [core.py:1510]"
WORKER = "(Worker pid=231) INFO %TIME%"
SHARDS = 5
WEIGHTS, COMPILE, PROFILE, GRAPHS = 0.45, 0.25, 0.08, 0.12
"""Parts of a cold start on a GPU; what is left is the process coming up. A measured boot of 11 min had 2.5
min of that, 1 of weights, 2.8 of torch.compile, 2.2 of profiling and 1.5 of graphs."""


@dataclass(frozen=True, kw_only=True)
class Boot:
    """The numbers of one start of a server."""

    model: str
    load_s: float
    weights_gib: float
    gpus: int
    tensor_parallel: int
    max_len: int
    kv_tokens: int
    args: str

    @property
    def weights_s(self) -> float:
        """Seconds from the first to the last shard."""
        return self.load_s * WEIGHTS

    @property
    def kv_gib(self) -> float:
        """Memory left for the KV cache on each GPU, at 0.14 MiB a token: a model of the middle size."""
        return round(self.kv_tokens * 0.14 / 1024 / self.gpus, 2)


def starting(boot: Boot) -> Iterator[tuple[float, str]]:
    """Seconds since the start and the line, up to `Application startup complete.` at `load_s`."""
    yield from _coming_up(boot)
    begin = boot.load_s * (1 - WEIGHTS - COMPILE - PROFILE - GRAPHS)
    yield begin, f"{WORKER} [gpu_model_runner.py:5230] Starting to load model /mnt/models..."
    for shard in range(SHARDS + 1):
        at = begin + boot.weights_s * shard / SHARDS
        yield at, f"Loading safetensors checkpoint shards: {_progress(shard, boot.weights_s)}"
    loaded = begin + boot.weights_s
    each = boot.weights_gib / max(boot.tensor_parallel, 1)
    yield loaded, f"{WORKER} [default_loader.py:402] Loading weights took {boot.weights_s:.2f} seconds"
    said = f"Model loading took {each:.2f} GiB memory and {boot.weights_s + 1.4:.6f} seconds"
    yield loaded, f"{WORKER} [gpu_model_runner.py:5342] {said}"
    compiled = loaded + boot.load_s * COMPILE
    yield compiled, f"{WORKER} [monitor.py:53] torch.compile took {boot.load_s * COMPILE:.2f} s in total"
    profiled = compiled + boot.load_s * PROFILE
    yield profiled, f"{WORKER} [gpu_worker.py:512] Available KV cache memory: {boot.kv_gib} GiB"
    times = boot.kv_tokens / boot.max_len
    held = f"GPU KV cache size: {boot.kv_tokens:,} tokens"
    most = f"Maximum concurrency for {boot.max_len:,} tokens per request: {times:.2f}x"
    yield profiled, f"{CORE} [kv_cache_utils.py:2327] {held}, {most}"
    yield from _ready(boot)


def failing(boot: Boot) -> list[str]:
    """The last lines of a start that ends with exit status 1: the cause in the first traceback."""
    if boot.tensor_parallel > boot.gpus:
        cause = (
            f"ValueError: World size ({boot.tensor_parallel}) is larger than the number of available GPUs "
            f"({boot.gpus}) in this node."
        )
    else:
        wanted = boot.kv_gib * boot.max_len / boot.kv_tokens
        cause = (
            f"ValueError: To serve at least one request with the model's max seq len ({boot.max_len}), "
            f"({wanted:.2f} GiB KV cache is needed, which is larger than the available KV cache memory "
            f"({boot.kv_gib} GiB). Based on the available memory, the estimated maximum model length is "
            f"{boot.kv_tokens}. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when "
            "initializing the engine."
        )
    return [
        f"{CORE_ERROR} EngineCore failed to start.",
        f"{CORE_ERROR} Traceback (most recent call last):",
        f'{CORE_ERROR}   File "/usr/local/lib/python3.12/dist-packages/vllm/v1/engine/core.py", line 1482, '
        "in run_engine_core",
        f"{CORE_ERROR}     engine_core = EngineCoreProc(*args, engine_index=dp_rank, **kwargs)",
        f"{CORE_ERROR} {cause}",
        "Traceback (most recent call last):",
        '  File "/usr/local/lib/python3.12/dist-packages/vllm/entrypoints/launchers/api_server/entry.py", '
        "line 177, in run_server",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    ]


def statistics(*, rate: float, running: int, waiting: int, kv: float) -> str:
    """The line a serving engine prints every ten seconds."""
    return (
        f"Engine 000: Avg prompt throughput: {900 * rate:.1f} tokens/s, Avg generation throughput: "
        f"{360 * rate:.1f} tokens/s, Running: {running} reqs, Waiting: {waiting} reqs, "
        f"GPU KV cache usage: {kv * 100:.1f}%, Prefix cache hit rate: 28.0%"
    )


def _coming_up(boot: Boot) -> Iterator[tuple[float, str]]:
    come = boot.load_s * (1 - WEIGHTS - COMPILE - PROFILE - GRAPHS)
    yield 0.0, f"{API} [api_utils.py:347]   █▄█▀ █     █     █     █  model   /mnt/models"
    yield 0.0, f"{API} [api_utils.py:347] vLLM API server version 0.32.0"
    said = f"'model': '/mnt/models', 'max_model_len': {boot.max_len}, 'served_model_name': ['{boot.model}']"
    yield 0.0, f"{API} [api_utils.py:286] non-default args: {{{said}}}"
    yield come * 0.3, f"{API} [model.py:2152] Using max model len {boot.max_len}"
    size = f"tensor_parallel_size={boot.tensor_parallel}, max_seq_len={boot.max_len}"
    config = f"model='/mnt/models', dtype=torch.bfloat16, {size}, served_model_name={boot.model}"
    yield come * 0.6, f"{CORE} [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: {config}"
    world = f"world_size={boot.tensor_parallel} rank=0 local_rank=0 backend=nccl"
    yield come * 0.9, f"{WORKER} [parallel_state.py:1906] {world}"


def _ready(boot: Boot) -> Iterator[tuple[float, str]]:
    graphs, done = boot.load_s * GRAPHS, boot.load_s
    yield done, "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%|██████████| 67/67"
    yield (
        done,
        f"{WORKER} [gpu_model_runner.py:6411] Graph capturing finished in {graphs:.0f} secs, took 0.94 GiB",
    )
    engine = boot.load_s * (COMPILE + PROFILE + GRAPHS)
    took = f"took {engine:.2f} s (compilation: {boot.load_s * COMPILE:.2f} s)"
    yield done, f"{CORE} [core.py:402] init engine (profile, create kv cache, warmup model) {took}"
    yield done, f"{API} [entry.py:136] Supported tasks: ['generate']"
    port = "8000" if "--port 8000" in boot.args else "8080"
    yield done, f"{API} [entry.py:140] Starting vLLM server on http://0.0.0.0:{port}"
    yield done, f"{API} [launcher.py:186] Available routes are:"
    for line in (
        "Started server process [1]",
        "Waiting for application startup.",
        "Application startup complete.",
    ):
        yield done, f"INFO:     {line}"


def _progress(shard: int, total_s: float) -> str:
    percent = 100 * shard // SHARDS
    pace = f"{total_s / SHARDS:.2f}s/it" if shard else "?it/s"
    spent = int(total_s * shard / SHARDS)
    return f"{percent:3d}% Completed | {shard}/{SHARDS} [{spent // 60:02d}:{spent % 60:02d}<00:00, {pace}]"
