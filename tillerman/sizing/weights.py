"""The memory a model's weights take, from its name and flags alone: an interval, with what was assumed.

A name says the parameters roughly (`7B` is 7.6 in Qwen2.5), and a four-bit file keeps embeddings and norms
in sixteen bits, so there are two numbers and not one. A sum of file sizes or a log line is better wherever
there is one.

Sources: published safetensors sizes of Qwen2.5/3, Llama 3, Mistral, gpt-oss, DeepSeek (Hugging Face,
2026-11); vLLM 0.32 quantization methods. Checked 2026-11-23.
"""

import re
from dataclasses import dataclass

from tillerman.cluster.quantity import GIB

#: Bytes of a parameter in a file that is not quantized. Source: safetensors of bf16 and fp16 models.
SIXTEEN_BITS = 2.0

#: How far real parameter counts lie from the number in the name: Qwen3-32B has 32.8, Qwen2.5-7B 7.6,
#: gemma-7b 8.5.
NAME_LOW, NAME_HIGH = 0.97, 1.12

#: Families whose names hold no number of parameters: billions of them, and bytes each as published.
_FAMILIES: tuple[tuple[str, float, float], ...] = (
    (r"mixtral.?8x22b", 141, 2),
    (r"(?:mixtral.?)?8x7b", 46.7, 2),
    (r"gpt.?oss.?120b", 117, 0.59),
    (r"gpt.?oss.?20b", 21, 0.66),
    (r"llama.?4.?maverick", 400, 2),
    (r"llama.?4.?scout", 109, 2),
    (r"deepseek.?(?:v3|r1)(?!.*distill)", 671, 1.03),
    (r"kimi.?k2", 1030, 0.58),
    (r"mistral.?large.?3", 675, 1.01),
    (r"mistral.?large", 123, 2),
    (r"mistral.?small", 24, 2),
    (r"glm.?4\.[567].?air", 106, 2),
    (r"glm.?4\.[567](?!.?(?:flash|v))", 355, 2),
    (r"minimax.?m2", 230, 1),
    (r"phi.?4.?mini", 3.8, 2),
    (r"phi.?4", 14.7, 2),
)
#: Bytes a parameter takes by the format that a name or flag names: least and most, scales and unquantized
#: layers included.
_FORMATS: tuple[tuple[str, float, float], ...] = (
    (r"fp8|w8a8|w8a16|int.?8|8.?bit|ptpc", 1.0, 1.15),
    (r"nvfp4|mxfp4|fp4|modelopt_fp4", 0.55, 0.78),
    (r"awq|gptq|marlin|int.?4|w4a16|4.?bit|bnb|bitsandbytes|gguf|q4_", 0.5, 0.78),
)
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s?([bm])(?![a-z0-9])")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Least and most bytes of a model's weights in memory, all GPUs together, and what was assumed."""

    low_bytes: float
    high_bytes: float
    assumed: str


def weights_of(model: str, quantization: str = "", dtype: str = "") -> Weights | None:
    """The weights of a model of that name, with these flags; None when the name says no size."""
    name = model.lower()
    found = _parameters(name)
    if found is None:
        return None
    low, high, native = found
    format_ = next((f for f in _FORMATS if re.search(f[0], f"{name} {quantization.lower()}")), None)
    least, most = native, native
    if format_ and native >= SIXTEEN_BITS:
        least, most = format_[1:]
    elif dtype.lower() in ("float32", "float") and native >= SIXTEEN_BITS:
        least = most = 4.0
    count = f"{low:g}-{high:g}" if high > low else f"{low:g}"
    each = f"{least:g}-{most:g}" if most > least else f"{least:g}"
    return Weights(
        low_bytes=low * 1e9 * least,
        high_bytes=high * 1e9 * most,
        assumed=f"{count} billion parameters of {each} bytes",
    )


def measured(gib_each: float, gpus: int) -> Weights:
    """The weights that an engine measured on each of its GPUs."""
    total = gib_each * gpus * GIB
    return Weights(
        low_bytes=total, high_bytes=total, assumed=f"measured: {gib_each:g} GiB on each of {gpus} GPUs"
    )


def _parameters(name: str) -> tuple[float, float, float] | None:
    """Billions of parameters, least and most, and the bytes each takes as published."""
    for pattern, billions, each in _FAMILIES:
        if re.search(pattern, name):
            return billions, billions, each
    sizes = [float(size) / (1000 if unit == "m" else 1) for size, unit in _SIZE.findall(name)]
    if not sizes:
        return None
    largest = max(sizes)
    return round(largest * NAME_LOW, 3), round(largest * NAME_HIGH, 3), SIXTEEN_BITS
