"""What the commands print: each verb's answer for people, or as a document for programs."""

from tillerman.cli.console import console, document, say
from tillerman.cli.show_diagnosis import diagnosis_text, finding_text
from tillerman.cli.show_estate import estate_text
from tillerman.cli.show_markdown import markdown
from tillerman.desk.documents import diagnosis_document, estate_document, finding_document
from tillerman.desk.estate import Estate
from tillerman.patterns.diagnosis import Diagnosis, Finding

#: The schema of `tillerman demo --json`: an estate and a diagnosis, each a document of its own.
DEMO = "tillerman.dev/demo/v1"


def diagnosis(found: Diagnosis, form: str) -> None:
    """Prints a diagnosis as `text`, `json` or `markdown`."""
    if form == "json":
        document(diagnosis_document(found))
    elif form == "markdown":
        console().file.write(markdown(found))
    else:
        diagnosis_text(found)


def estate(found: Estate, *, json: bool) -> None:
    """Prints the estate."""
    if json:
        document(estate_document(found))
    else:
        estate_text(found)


def finding(found: Finding, whole: Diagnosis, *, json: bool) -> None:
    """Prints one finding in full."""
    if json:
        document(finding_document(found))
    else:
        finding_text(found, whole)


def demo(seen: Estate, found: Diagnosis, *, json: bool) -> None:
    """Prints the demo: each step under the command that a person would type."""
    if json:
        document({"schema": DEMO, "estate": estate_document(seen), "diagnosis": diagnosis_document(found)})
        return
    step("tillerman look --demo", "what is served here, on which GPUs")
    estate_text(seen)
    step("tillerman diagnose --demo", "what is wrong, and why")
    diagnosis_text(found)
    for root in found.roots[:1]:
        step(f"tillerman explain --demo {root.id}", "the evidence, and the change that repairs it")
        finding_text(root, found)
    next_steps()


def step(command: str, what: str) -> None:
    """Prints the heading of a step of the demo: the command that a person would type."""
    say("")
    say(("$ ", "dim"), (command, "bold green"), (f"   # {what}", "dim"), hang=2)
    say("")


def next_steps() -> None:
    """Prints what to try after the demo."""
    say("")
    say(("On a cluster of yours", "bold"))
    say("tillerman diagnose                    the current kubeconfig context", indent=2)
    say("tillerman snapshot -o DIR             keep it as a directory", indent=2)
    say("tillerman diagnose --snapshot DIR     and look at it anywhere", indent=2)
    say("tillerman patterns                    the manual of the catalogue", indent=2)
