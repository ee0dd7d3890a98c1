"""The shipped policy's reader: every wording of its training passes, other words are read, what it lacks is refused."""

import pytest

from benchmarks.nano.nano_read import measure
from sim.tasks.task import load_suite
from vla_agent.models.reader.reader import FOREIGN
from vla_agent.policy.loading import load_policy

SHIPPED = "policies/tabletop-nano"


@pytest.fixture(scope="module")
def reader():
    return load_policy(SHIPPED).reader


def test_every_wording_of_the_training_passes_bit_for_bit(reader):
    words = {"target": "red mug", "reference": "blue cube", "second": "black pear", "zone": "green", "colour": "white"}
    words["direction"] = "in front of"
    for family in load_suite("tabletop").values():
        for wording in family.wordings.train:
            reading = reader.read_task(wording.format(**words))
            assert reading.is_own and reading.text == wording.format(**words)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("would you put the crimson mug in the tray", "put the red mug in the tray"),
        ("put the gren star in the tary please", "put the green star in the tray"),
        ("bitte den roten Würfel links von der blauen Kugel hinstellen", "put the red cube left of the blue ball"),
        ("abre el cajón, por favor", "open the drawer"),
        ("appuie sur le bouton vert", "press the green button"),
        ("закрой, пожалуйста, ящик", "close the drawer"),
    ],
)
def test_other_words_and_languages_are_read(reader, said, text):
    reading = reader.read_task(said)
    assert (reading.text, reading.refusal) == (text, "")


@pytest.mark.parametrize("said", ["put the unicorn in the tray", "sing me a song", "is there a red mug?", "", "put it"])
def test_what_it_does_not_understand_is_refused(reader, said):
    reading = reader.read_task(said)
    assert reading.refusal and reading.text == said


def test_the_benchmark_counts_what_is_read():
    found = measure(SHIPPED, 1, 6_000_000)
    assert all(row["n"] == row["right"] + row["refused"] + row["wrong"] for row in found["rows"])
    assert {row["wordings"] for row in found["rows"]} > {"free", "synonyms", "typos", "questions", "language-ru"}
    assert found["value"] > 0.2


@pytest.mark.parametrize("said", ["引き出しを開けて", "افتح الدرج", "서랍을 열어"])
def test_scripts_that_no_grammar_has_are_refused(reader, said):
    assert FOREIGN in reader.read_task(said).refusal


@pytest.mark.parametrize("said", ["do not open the drawer", "öffne die Schublade nicht", "не открывай ящик"])
def test_what_is_not_to_be_done_is_refused(reader, said):
    assert "not to do" in reader.read_task(said).refusal
