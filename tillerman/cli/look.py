"""`tillerman look`: the LLM estate at a glance."""

from tillerman.cli import options


@options.choosing()
def look(
    chosen: options.From,
    json: options.JsonOption = False,
) -> None:
    """Show GPU nodes with free and used GPUs, the models served with their load, and the GPU daemon stack."""
    from tillerman import desk
    from tillerman.cli import show

    cluster = options.read(chosen)
    with options.progress("looking"):
        seen = desk.look(cluster, chosen.namespaces)
    show.estate(seen, json=json)
