"""The command line a model server really runs with: words, scripts and settings files resolved to flags.

Sources: vLLM 0.32, SGLang 0.5 and TGI 3.3 argument parsers (the last mention of a flag wins, `_` equals `-`);
Kubernetes expands `$(NAME)` in command and args, a shell expands `$NAME` and `${NAME:-default}`.
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ryaml

#: Short options of the engines. Source: vLLM 0.32 `EngineArgs`.
_SHORT = {
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
    "-q": "quantization",
    "--tp": "tensor-parallel-size",
    "--tp-size": "tensor-parallel-size",
    "--model-path": "model",
    "--model-id": "model",
    "--num-shard": "tensor-parallel-size",
    "--context-length": "max-model-len",
    "--mem-fraction-static": "gpu-memory-utilization",
}
#: Settings that TGI's launcher takes from the environment. Source: TGI 3.3 `text-generation-launcher --help`.
TGI_ENV = {
    "MODEL_ID": "model",
    "NUM_SHARD": "tensor-parallel-size",
    "MAX_TOTAL_TOKENS": "max-model-len",
    "DTYPE": "dtype",
    "QUANTIZE": "quantization",
}
_SHELLS = ("sh", "bash", "ash", "dash")
_STARTS = re.compile(
    r"vllm\s+serve|vllm\.entrypoints|sglang\.launch_server|sglang_router|text-generation-launcher|huggingfaceserver"
    r"|trtllm-serve"
)
_VARIABLE = re.compile(r"\$\((\w+)\)|\$\{(\w+)(?::?[-=]([^}]*))?\}|\$(\w+)")


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One setting of a server: its long name without dashes, and its value ("true" for a bare flag).

    `source` is `args`, `command`, `env NAME` or `file PATH`.
    """

    name: str
    value: str
    source: str


def expand(text: str, env: Mapping[str, str], *, scripted: bool) -> str:
    """The text with variables replaced.

    Unknown ones stay as Kubernetes leaves them, or vanish as in a shell.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2] or found[4]
        if found[1] is None and not scripted:
            return found[0]
        known = env.get(name)
        if known is not None:
            return known
        return found[0] if found[1] else found[3] or ""

    return _VARIABLE.sub(value, text)


def script_of(command: Iterable[str], args: Iterable[str]) -> str | None:
    """The shell script a container runs by `sh -c`, or None."""
    words = [*command, *args]
    if not words or words[0].rsplit("/", 1)[-1] not in _SHELLS:
        return None
    for at, word in enumerate(words[1:], 1):
        if re.match(r"^-[a-z]*c[a-z]*$", word) and at + 1 < len(words):
            return words[at + 1]
        if not word.startswith("-"):
            break
    return None


def script_words(script: str, env: Mapping[str, str]) -> list[str]:
    """The words of the server's own command in a shell script; empty when there is none."""
    joined = script.replace("\\\n", " ")
    for line in joined.splitlines():
        if _STARTS.search(line) and not line.lstrip().startswith(("#", "echo ")):
            text = expand(line, env, scripted=True)
            text = re.sub(r"^\s*eval\s+[\"']?", "", text)
            begin = _STARTS.search(text)
            text = text[begin.start() :] if begin else text
            return _split(text)
    return []


def _split(text: str) -> list[str]:
    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&")
        lexer.whitespace_split = True
        lexer.commenters = ""
        words = list(lexer)
    except ValueError:
        words = text.split()
    for at, word in enumerate(words):
        if word and set(word) <= set(";|&"):
            return words[:at]
    return words


def flags_of(words: Iterable[str], source: str) -> list[Flag]:
    """The flags among these words, in order; values may follow `=` or be the next word."""
    found: list[Flag] = []
    listed = list(words)
    at = 0
    while at < len(listed):
        word = listed[at]
        at += 1
        if not word.startswith("-") or word == "-" or re.match(r"^-[0-9.]", word):
            continue
        name, equals, value = word.partition("=")
        if not equals:
            follows = at < len(listed) and (
                not listed[at].startswith("-") or re.match(r"^-[0-9.]", listed[at])
            )
            value = listed[at] if follows else "true"
            at += bool(follows)
        found.append(Flag(name=long_name(name), value=value.strip("\"'"), source=source))
    return found


def long_name(word: str) -> str:
    """A flag's one name: long, without dashes in front, with dashes inside."""
    return _SHORT.get(word, word.lstrip("-").replace("_", "-"))


def file_flags(text: str, path: str) -> list[Flag]:
    """The flags that a vLLM `--config` file sets; none when it is not a YAML mapping."""
    try:
        settings = ryaml.loads(text)
    except (ryaml.InvalidYamlError, ValueError):
        return []
    if not isinstance(settings, dict):
        return []
    return [
        Flag(name=long_name(str(k)), value="true" if v is True else str(v), source=f"file {path}")
        for k, v in settings.items()
    ]


def with_flag(words: list[str], name: str, value: str) -> list[str] | None:
    """The words with a flag's value replaced (also inside a shell script).

    Or None when they do not mention it.
    """
    for at in reversed(range(len(words))):
        word = words[at]
        head, equals, _ = word.partition("=")
        if head.startswith("-") and long_name(head) == name:
            if equals:
                return [*words[:at], f"{head}={value}", *words[at + 1 :]]
            return [*words[: at + 1], value, *words[at + 2 :]]
        if (changed := script_with_flag(word, name, value)) is not None:
            return [*words[:at], changed, *words[at + 1 :]]
    return None


def script_with_flag(script: str, name: str, value: str) -> str | None:
    """A script or a setting made of flags with one flag's value replaced.

    Or None when it does not mention it.
    """
    spelled = [re.escape(f"--{name}"), re.escape(f"--{name.replace('-', '_')}")]
    spelled += [re.escape(short) for short, long in _SHORT.items() if long == name]
    found = list(re.finditer(rf"(?<![\w-])(?:{'|'.join(spelled)})(=|\s+)([^\s\\;|&\"']+)", script))
    if not found or (" " not in script.strip() and not script.startswith("-")):
        return None
    start, end = found[-1].span(2)
    return script[:start] + value + script[end:]


def with_new_flag(words: list[str], name: str, value: str) -> list[str]:
    """The words with a flag added: at the end of the server's command when they are a shell script."""
    for at, word in enumerate(words):
        begin = _STARTS.search(word)
        if begin and " " in word.strip():
            end = len(word[: _command_end(word, begin.end())].rstrip())
            return [*words[:at], f"{word[:end]} --{name} {value}{word[end:]}", *words[at + 1 :]]
    return [*words, f"--{name}={value}"]


def _command_end(script: str, start: int) -> int:
    at = start
    while at < len(script):
        if script[at] in ";|&" or (script[at] == "\n" and not script[:at].rstrip(" ").endswith("\\")):
            return at
        at += 1
    return len(script)
