import pytest

from tillerman.cluster.commandline import flags_of, script_of, script_words, with_flag, with_new_flag

ENV = {"MODEL": "Qwen/Qwen3-8B", "LEN": "8192"}


def told(words: list[str]) -> dict[str, str]:
    return {flag.name: flag.value for flag in flags_of(words, "args")}


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["--max-model-len=8192"], {"max-model-len": "8192"}),
        (["--max_model_len", "8192", "--enforce-eager"], {"max-model-len": "8192", "enforce-eager": "true"}),
        (["-tp", "4", "-pp=2"], {"tensor-parallel-size": "4", "pipeline-parallel-size": "2"}),
        (["--max-model-len", "-1"], {"max-model-len": "-1"}),
        (["--tp-size", "2"], {"tensor-parallel-size": "2"}),
        (["--dtype=half", "--dtype=bfloat16"], {"dtype": "bfloat16"}),
        (["serve", "Qwen/Qwen3-8B", "-"], {}),
    ],
)
def test_flags_are_read_as_the_engine_reads_them(words: list[str], flags: dict[str, str]) -> None:
    assert told(words) == flags


@pytest.mark.parametrize(
    ("command", "args", "script"),
    [
        (["sh", "-c", "vllm serve x"], [], "vllm serve x"),
        (["/bin/bash", "-lc"], ["exec vllm serve x"], "exec vllm serve x"),
        (["bash", "-euo", "pipefail", "-c", "vllm serve x"], [], None),
        (["vllm", "serve"], ["x"], None),
        (["sh", "/run.sh"], [], None),
    ],
)
def test_script_is_found_behind_a_shell(command: list[str], args: list[str], script: str | None) -> None:
    assert script_of(command, args) == script


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "vllm serve $MODEL --max-model-len ${LEN}",
            ["vllm", "serve", "Qwen/Qwen3-8B", "--max-model-len", "8192"],
        ),
        (
            "set -e\nexport A=1\nexec vllm serve x \\\n  --port 8000 && echo done",
            ["vllm", "serve", "x", "--port", "8000"],
        ),
        ("# vllm serve old\nvllm serve new --len ${NONE:-4}", ["vllm", "serve", "new", "--len", "4"]),
        (
            'eval "vllm serve /mnt/models --port 8000 ${EXTRA}"',
            ["vllm", "serve", "/mnt/models", "--port", "8000"],
        ),
        ("sleep 5; echo nothing", []),
    ],
)
def test_words_of_the_server_are_found_in_a_script(script: str, words: list[str]) -> None:
    assert [w for w in (word.strip('"') for word in script_words(script, ENV)) if w] == words


@pytest.mark.parametrize(
    ("words", "after"),
    [
        (["--max-model-len=8192"], ["--max-model-len=4096"]),
        (["--max_model_len", "8192", "--x"], ["--max_model_len", "4096", "--x"]),
        (["-c", "vllm serve m --max-model-len 8192 --x"], ["-c", "vllm serve m --max-model-len 4096 --x"]),
        (
            ["-c", "vllm serve m \\\n  --max-model-len=8192 \\\n  --x"],
            ["-c", "vllm serve m \\\n  --max-model-len=4096 \\\n  --x"],
        ),
        (["--port", "80"], None),
    ],
)
def test_flag_is_changed_where_it_stands(words: list[str], after: list[str] | None) -> None:
    assert with_flag(words, "max-model-len", "4096") == after


def test_new_flag_goes_to_the_end_of_the_servers_command() -> None:
    assert with_new_flag(["--port", "80"], "dtype", "half") == ["--port", "80", "--dtype=half"]
    script = ["-c", "vllm serve m --port 80 && echo bye"]
    assert with_new_flag(script, "dtype", "half") == ["-c", "vllm serve m --port 80 --dtype half && echo bye"]
    lines = ["-c", "vllm serve m \\\n  --port 80\necho bye"]
    assert with_new_flag(lines, "dtype", "half") == [
        "-c",
        "vllm serve m \\\n  --port 80 --dtype half\necho bye",
    ]
