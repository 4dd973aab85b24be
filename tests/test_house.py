"""The limits of CONTRIBUTING.md that no linter knows. None is raised to let one file pass."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHELVES = ("tillerman", "mcp_servers", "agents", "a2a", "deploy")
CLI = "tillerman/cli"

MODULE_LINES = 300
FUNCTION_LINES = 40
PARAMETERS = 6
HANDLER_LINES = 15
HANDLER_DECORATORS = {"command", "callback"}
BROAD = {"Exception", "BaseException"}
SLOW_TO_IMPORT = {"kubernetes", "mcp", "a2a", "openai", "sqlalchemy", "httpx", "prometheus_client"}

WRITTEN_BY_HAND = {".py", ".md", ".toml", ".sh", ".mk", ""}
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME)\b")
HOME = re.compile(r"(?<![\w.-])/(?:work|root)/(?!\.(?:cache|config|triton)\b)|(?<![\w.-])/Users/\w+/")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def modules(*shelves: str) -> list[Path]:
    return sorted(path for shelf in shelves for path in (ROOT / shelf).rglob("*.py"))


def place(path: Path, node: ast.stmt | ast.expr | ast.ExceptHandler) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def functions(*shelves: str) -> Iterator[tuple[Path, Function]]:
    for path in modules(*shelves):
        for node in ast.walk(parsed(path)):
            if isinstance(node, Function):
                yield path, node


def lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def docstring_lines(node: Function) -> int:
    return 0 if ast.get_docstring(node) is None else lines(node.body[0])


def body_lines(node: Function) -> int:
    body = node.body if ast.get_docstring(node) is None else node.body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(node: Function) -> int:
    asked = node.args
    names = [argument.arg for argument in (*asked.posonlyargs, *asked.args, *asked.kwonlyargs)]
    rest = [argument for argument in (asked.vararg, asked.kwarg) if argument]
    return len([name for name in names if name not in {"self", "cls"}]) + len(rest)


def is_handler(node: Function) -> bool:
    called = [wrap.func if isinstance(wrap, ast.Call) else wrap for wrap in node.decorator_list]
    return any(isinstance(name, ast.Attribute) and name.attr in HANDLER_DECORATORS for name in called)


def last_name(node: ast.expr | None) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


def is_broad(node: ast.AST) -> bool:
    match node:
        case ast.ExceptHandler(type=None):
            return True
        case ast.ExceptHandler(type=ast.Tuple(elts=caught)):
            return any(last_name(each) in BROAD for each in caught)
        case ast.ExceptHandler(type=caught_one):
            return last_name(caught_one) in BROAD
        case ast.Call(func=called, args=arguments) if last_name(called) == "suppress":
            return any(last_name(each) in BROAD for each in arguments)
    return False


def calls_sleep(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=called, args=[ast.Constant(value=0)]) if last_name(called) == "sleep":
            return False
        case ast.Call(func=called):
            return last_name(called) == "sleep"
    return False


def project_files() -> list[Path]:
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in answer.stdout.split("\0") if name)
    return [path for path in paths if path.is_file() and path != Path(__file__)]


def matches(path: Path, pattern: re.Pattern[str]) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    return [f"{path.relative_to(ROOT)}: {found.group()}" for found in pattern.finditer(text)]


def test_no_module_is_too_long() -> None:
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules(*SHELVES)}
    assert {str(path.relative_to(ROOT)): n for path, n in counts.items() if n > MODULE_LINES} == {}


def test_no_function_is_too_long() -> None:
    counts = {place(path, node): lines(node) - docstring_lines(node) for path, node in functions(*SHELVES)}
    assert {where: count for where, count in counts.items() if count > FUNCTION_LINES} == {}


def test_no_function_asks_too_much() -> None:
    counts = {place(path, node): parameters(node) for path, node in functions(*SHELVES)}
    assert {where: count for where, count in counts.items() if count > PARAMETERS} == {}


def test_handlers_only_open_the_core() -> None:
    counts = {place(path, node): body_lines(node) for path, node in functions(CLI) if is_handler(node)}
    assert {where: count for where, count in counts.items() if count > HANDLER_LINES} == {}


def test_one_broad_except_at_the_edge() -> None:
    everywhere = modules(*SHELVES, "tests")
    broad = [path for path in everywhere for node in ast.walk(parsed(path)) if is_broad(node)]
    elsewhere = [str(path.relative_to(ROOT)) for path in broad if not path.is_relative_to(ROOT / CLI)]
    assert elsewhere == []
    assert len(broad) <= 1


def test_tests_do_not_sleep() -> None:
    sleeping = [
        place(path, node)
        for path in modules("tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.expr) and calls_sleep(node)
    ]
    assert sleeping == []


@pytest.mark.skipif(not (ROOT / CLI / "__init__.py").exists(), reason="there is no command line yet")
def test_help_imports_nothing_slow() -> None:
    program = (
        "import sys; sys.argv = ['tillerman', '--help']\n"
        "from tillerman.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Usage" in answer.stdout
    assert SLOW_TO_IMPORT.intersection(answer.stderr.split()) == set()


@pytest.mark.parametrize("shelf", ["a2a", "agents", "mcp_servers"])
def test_shelf_hides_no_sdk(shelf: str) -> None:
    names = [path.name for path in modules(shelf)]
    assert not (ROOT / shelf / "__init__.py").exists()
    assert [name for name in names if name == "conftest.py" or name.startswith("test_")] == []


def test_no_file_names_a_home_folder() -> None:
    assert [found for path in project_files() for found in matches(path, HOME)] == []


def test_nothing_is_left_unfinished() -> None:
    written = [path for path in project_files() if path.suffix in WRITTEN_BY_HAND]
    assert [found for path in written for found in matches(path, UNFINISHED)] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_named_commands_exist(page: str) -> None:
    code = re.findall(r"```.*?```|`[^`]+`", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    named = {target for span in code for target in re.findall(r"\bmake ([a-z][a-z-]*)", span)}
    targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert named - set(targets) == set()
