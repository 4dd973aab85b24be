"""What a start's log says of its settings and sizes: lines that engines printed."""

from tillerman.cluster.enginelog import default_share, engine_log
from tillerman.cluster.logs import Log

VLLM = """\
(APIServer pid=1) INFO 11-19 14:18:35 [api_utils.py:347]   █▄█▀ █  version 0.32.0
(APIServer pid=1) INFO 11-19 14:18:35 [api_utils.py:286] non-default args: {'model_tag': '/mnt/models', \
'model': '/mnt/models', 'max_model_len': 32768, 'served_model_name': ['a'], 'gpu_memory_utilization': 0.85}
(EngineCore pid=290) INFO 11-19 14:18:51 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: \
model='/mnt/models', dtype=torch.bfloat16, max_seq_len=32768, tensor_parallel_size=2, quantization=None
(Worker_TP0 pid=360) Loading safetensors checkpoint shards:   5% Completed | 1/17 [00:03<00:49,  3.10s/it]
(Worker_TP0 pid=360) INFO 11-19 14:19:59 [gpu_model_runner.py:4411] \
Model loading took 30.52 GiB memory and 55.1 seconds
(Worker_TP0 pid=360) INFO 11-19 14:20:47 [gpu_worker.py:456] Available KV cache memory: -1.44 GiB
"""
SGLANG = """\
[2026-11-19 11:58:14] server_args=ServerArgs(model_path='Qwen/Qwen3-14B', tp_size=4, mem_fraction_static=0.6)
[2026-11-19 11:59:10] Load weight end. type=Qwen3ForCausalLM, dtype=torch.bfloat16, avail \
mem=16.11 GB, mem usage=7.02 GB.
"""


def test_vllm_start() -> None:
    found = engine_log(Log(text=VLLM))
    assert (found.version, found.tensor_parallel, found.memory_share) == ((0, 32), 2, 0.85)
    assert (found.weights_gib, found.kv_gib, found.shards) == (30.52, -1.44, 17)
    assert found.number("max-model-len") == 32768
    assert found.settings["dtype"] == "torch.bfloat16"


def test_sglang_start() -> None:
    found = engine_log(Log(text=SGLANG))
    assert (found.tensor_parallel, found.memory_share, found.weights_gib) == (4, 0.6, 7.02)


def test_share_that_is_not_set_is_the_releases_default() -> None:
    assert engine_log(Log(text=VLLM.replace(", 'gpu_memory_utilization': 0.85", ""))).memory_share == 0.92
    assert default_share("vllm/vllm-openai:v0.9.2") == 0.9
    assert default_share("registry.local:5000/vllm@sha256:abc") == 0.92


def test_nothing_seen_is_unknown() -> None:
    found = engine_log(None)
    assert (found.memory_share, found.weights_gib, found.version, found.tensor_parallel) == (
        None,
        None,
        None,
        1,
    )
