"""The estate for people at a terminal: three tables that fit 80 columns."""

from rich.text import Text

from tillerman.cli.console import console, safe, say
from tillerman.cli.show_diagnosis import source_line
from tillerman.desk.estate import Estate, GpuNode, Served, StackPart


def estate_text(found: Estate) -> None:
    """Prints GPU nodes, models and the GPU stack."""
    source_line(found.source)
    total = sum(node.allocatable for node in found.gpu_nodes)
    used = sum(node.used for node in found.gpu_nodes)
    free = sum(node.free for node in found.gpu_nodes)
    say("")
    say(
        ("GPU nodes", "bold"),
        f"  {len(found.gpu_nodes)} of {found.nodes} nodes; {used} of {total} GPUs used, {free} free",
    )
    if found.gpu_nodes:
        _nodes(found.gpu_nodes)
    say("")
    say(("Models served", "bold"), f"  {len(found.models)}")
    if found.models:
        _models(found.models)
        say(("load: requests running and waiting, KV cache used; ? was not seen", "dim"))
    say("")
    say(("GPU daemon stack", "bold"), "" if found.stack else "  none was seen")
    if found.stack:
        _stack(found.stack)


Cell = str | Text


def _print(columns: tuple[str, ...], rows: list[tuple[Cell, ...]]) -> None:
    """Prints rows under columns: `>X` is flush right, `~X` is cut short when the line is too long."""
    texts = [[cell if isinstance(cell, Text) else Text(safe(cell)) for cell in row] for row in rows]
    heads = [Text(column.lstrip(">~"), "dim") for column in columns]
    whole = [row for row in texts if len(row) == len(columns)]
    widths = [
        max(cell.cell_len for cell in (head, *(row[at] for row in whole))) for at, head in enumerate(heads)
    ]
    over = sum(widths) + len(widths) - 1 - console().width
    for at, column in enumerate(columns):
        if column.startswith("~") and over > 0:
            cut = min(over, widths[at] - len(column))
            widths[at], over = widths[at] - cut, over - cut
    for row in [heads, *texts]:
        line = Text()
        for at, cell in enumerate(row):
            if len(row) == len(columns):
                cell.truncate(widths[at], overflow="ellipsis")
                cell.align("right" if columns[at].startswith(">") else "left", widths[at])
            line += cell + Text(" " if at + 1 < len(row) else "")
        line.rstrip()
        console().print(line, no_wrap=True, overflow="ignore", crop=False)


def _nodes(nodes: tuple[GpuNode, ...]) -> None:
    rows: list[tuple[Cell, ...]] = []
    for node in nodes:
        notes = Text(", ".join(node.notes), "yellow")
        rows.append((node.name, node.product, f"{node.used}/{node.allocatable}", str(node.free), notes))
    _print(("~NODE", "~PRODUCT", ">USED", ">FREE", "NOTES"), rows)


def _models(models: tuple[Served, ...]) -> None:
    rows: list[tuple[Cell, ...]] = []
    for one in models:
        ready = Text(f"{one.ready}/{one.desired}", "" if one.ready >= one.desired else "red")
        kv = "?" if one.kv_usage is None else f"{one.kv_usage:.0%}"
        name = f"{one.owner.namespace}/{one.owner.name}"
        kind = _SHORT.get(one.owner.kind, one.owner.kind)
        load = (_number(one.running), _number(one.waiting), kv)
        rows.append((name, kind, one.model.rsplit("/", 1)[-1], ready, str(one.gpus), *load))
        if one.notes:
            rows.append((Text(f"  {', '.join(one.notes)}", "yellow"),))
    _print(("NAME", "KIND", "~MODEL", ">READY", ">GPUS", ">RUN", ">WAIT", ">KV"), rows)


_SHORT = {
    "InferenceService": "isvc",
    "LLMInferenceService": "llmisvc",
    "Deployment": "deploy",
    "StatefulSet": "sts",
    "LeaderWorkerSet": "lws",
}


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


def _stack(parts: tuple[StackPart, ...]) -> None:
    rows: list[tuple[Cell, ...]] = []
    for part in parts:
        known = part.ready is not None and part.desired is not None
        ready = f"{part.ready}/{part.desired}" if known else "?"
        style = "red" if known and (part.ready or 0) < (part.desired or 0) else ""
        rows.append((part.role, f"{part.workload.namespace}/{part.workload.name}", Text(ready, style)))
    _print(("PART", "~WORKLOAD", ">READY"), rows)
