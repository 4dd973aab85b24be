"""`tillerman demo`: the main job on the recorded cluster, start to finish."""

from tillerman.cli import options


def demo() -> None:
    """Meet tillerman on a recorded cluster.

    Look, diagnose, explain, and the change it proposes with its what-if.
    """
    from tillerman import desk
    from tillerman.cli import show

    cluster = options.read(options.chosen_by(demo=True))
    show.step("tillerman look --demo", "what is served here, on which GPUs")
    show.estate(desk.look(cluster), json=False)
    show.step("tillerman diagnose --demo", "what is wrong, and why")
    found = desk.diagnose(cluster)
    show.diagnosis(found, "text")
    if found.roots:
        show.step(
            f"tillerman explain --demo {found.roots[0].id}", "the evidence, and the change that repairs it"
        )
        show.finding(found.roots[0], found, json=False)
    show.next_steps()
