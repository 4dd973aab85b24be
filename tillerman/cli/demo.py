"""`tillerman demo`: the main job on the recorded cluster, start to finish."""

from tillerman.cli import options


def demo(json: options.JsonOption = False) -> None:
    """Meet tillerman on a recorded cluster.

    Look, diagnose, explain, and the change it proposes with its what-if.
    """
    from tillerman import desk
    from tillerman.cli import show

    cluster = options.read(options.chosen_by(demo=True))
    with options.progress("diagnosing"):
        estate, found = desk.look(cluster), desk.diagnose(cluster)
    show.demo(estate, found, json=json)
