"""Weights by name, held against sizes that were measured or published."""

import pytest

from tillerman.cluster.quantity import GIB
from tillerman.sizing.weights import weights_of

#: Model name, and GiB of its weights. Sources: llm-d planner's measured runs, files on Hugging Face.
MEASURED = [
    ("meta-llama/Llama-3.1-8B-Instruct", 14.99),
    ("hf://Qwen/Qwen3-8B", 15.3),
    ("Qwen/Qwen3-8B-AWQ", 5.68),
    ("s3://models/qwen3-32b/", 61.03),
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 67.72),
    ("pvc://weights/llama-3.3-70b-instruct", 131.42),
    ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", 44.76),
    ("openai/gpt-oss-120b", 64.38),
    ("openai/gpt-oss-20b", 13.0),
    ("deepseek-ai/DeepSeek-V3", 641.3),
    ("Qwen/Qwen3.5-122B-A10B-GPTQ-Int4", 73.47),
    ("Qwen/Qwen2.5-7B-Instruct", 14.2),
]


@pytest.mark.parametrize(("name", "gib"), MEASURED)
def test_measured_weights_lie_in_the_interval(name: str, gib: float) -> None:
    found = weights_of(name)
    assert found is not None
    assert found.low_bytes * 0.99 <= gib * GIB <= found.high_bytes * 1.01


def test_flag_quantizes_plain_weights() -> None:
    plain, quantized = weights_of("Qwen/Qwen3-32B"), weights_of("Qwen/Qwen3-32B", quantization="fp8")
    assert plain is not None
    assert quantized is not None
    assert quantized.high_bytes < 0.6 * plain.high_bytes


@pytest.mark.parametrize("name", ["/mnt/models", "", "BAAI/bge-m3", "extractor"])
def test_name_without_a_size_gives_none(name: str) -> None:
    assert weights_of(name) is None
