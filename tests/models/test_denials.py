"""What is not to be done is never read as what is to be done."""

import pytest

from sim.perturbations.languages import languages, translations
from sim.tasks.task import load_suite
from vla_agent.models.reader.denials import denies


@pytest.mark.parametrize(
    "text",
    [
        "do not open the drawer",
        "Please don't put the red mug in the tray",
        "don’t press the green button",
        "you must not push the blue cube",
        "never press the green button",
        "put anything but the red mug in the tray",
        "everything except the red mug goes in the tray",
        "put the red mug in the tray, no wait",
        "put the red mug in the tray. stop!",
        "öffne die Schublade nicht",
        "drück keinen Knopf",
        "no abras el cajón",
        "n'ouvre pas le tiroir",
        "ne ferme jamais le tiroir",
        "не открывай ящик",
    ],
)
def test_denials_are_found_in_every_language(text):
    assert denies(text)


@pytest.mark.parametrize(
    "text",
    [
        "push the red mug to the green zone, don't lift it",
        "do not let the drawer stand open",
        "don't forget the red mug: it goes in the tray",
        "take the note to the knot",
        "stop the ringing: press the red button",
        "pon el nogal en la bandeja",
    ],
)
def test_what_is_to_be_done_is_no_denial(text):
    assert not denies(text)


def test_no_wording_of_the_tasks_is_a_denial():
    for family in load_suite("tabletop").values():
        task = family.episode(5_900_000)
        said = [w.format(**task.bindings) for w in (*family.wordings.train, *family.wordings.held_out)]
        said += [text for language in languages() for text in translations(task, language)]
        assert not [text for text in said if denies(text)]
