"""A reader passes the policy's own wordings bit for bit, fills canonical ones, refuses what it is not sure of."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.shared.tiny_reader import SETTINGS, tiny_reader
from vla_agent.models.reader.own_templates import OwnTemplates, as_template, templates_of
from vla_agent.models.reader.reader import LONGEST, best_reading, fill
from vla_agent.models.reader.reader_settings import OPEN, ROLES, UNKNOWN, ReaderSettings, ReadOutputs


def outputs(kind: str, slots: dict[str, str], sure: float = 20.0) -> ReadOutputs:
    """What a net gives that reads this, as sure as that."""
    kinds = torch.zeros(1, len(SETTINGS.kinds))
    kinds[0, SETTINGS.kinds.index(kind)] = sure
    values = {role: torch.zeros(1, len(SETTINGS.values(role))) for role in ROLES}
    for role, value in slots.items():
        values[role][0, SETTINGS.values(role).index(value)] = sure
    pointers = torch.full((1, len(ROLES), 6), -9.0)
    pointers[:, :, 2] = 0.0
    return ReadOutputs(kinds, values, pointers)


class Says:
    """A net that always reads the same."""

    def __init__(self, output: ReadOutputs) -> None:
        self.output = output

    def read(self, ids: np.ndarray) -> ReadOutputs:
        return self.output


def reader_that_reads(kind: str, slots: dict[str, str], sure: float = 20.0):
    reader = tiny_reader()
    reader.net = Says(outputs(kind, slots, sure))
    return reader


RED_MUG = {"target.shape": "mug", "target.colour": "red"}


@pytest.mark.parametrize(
    ("instruction", "own"),
    [
        ("put the red mug in the tray", True),
        ("put the red mug left of the blue cube", True),
        ("press the green button", True),
        ("Put the red mug in the tray", False),
        ("put the red mug in the tray ", False),
        ("put the crimson mug in the tray", False),
        ("put the red in the tray", False),
    ],
)
def test_own_wordings_are_matched_letter_by_letter(instruction, own):
    assert OwnTemplates(SETTINGS).match(instruction) == own


def test_an_own_wording_passes_unread():
    reading = reader_that_reads("other", {}).read_task("put the red mug in the tray")
    assert reading.is_own and reading.text == reading.original and not reading.refusal


def test_other_words_become_the_canonical_wording():
    reading = reader_that_reads("put_in_tray", RED_MUG).read_task("dump that crimson beaker on the platter")
    assert (reading.text, reading.refusal) == ("put the red mug in the tray", "")
    assert reading.confidence > 0.9


def test_what_is_not_sure_is_refused_with_what_it_may_mean():
    reading = reader_that_reads("put_in_tray", RED_MUG, sure=1.0).read_task("mumble")
    assert "do not understand" in reading.refusal and "put the red mug in the tray" in reading.refusal
    assert reading.text == "mumble" and reading.doubt > 0.5


def test_an_unknown_thing_is_named():
    slots = {"target.shape": UNKNOWN, "target.colour": OPEN}
    reading = reader_that_reads("put_in_tray", slots).read_task("put unicorn in the tray")
    assert "do not understand which thing" in reading.refusal


@pytest.mark.parametrize("kind", ["other", "unsafe"])
def test_what_nobody_can_do_is_refused(kind):
    reading = reader_that_reads(kind, {}).read_task("sing a song")
    assert reading.refusal and reading.doubt > 0.9


def test_a_question_is_no_task():
    reader = reader_that_reads("exists", RED_MUG)
    assert "question" in reader.read_task("any red mug?").refusal
    assert reader.read("any red mug?").text == "is there a red mug?"


def test_too_long_texts_are_not_read():
    assert "characters" in tiny_reader().read_task("a" * (LONGEST + 1)).refusal


@pytest.mark.parametrize("text", ["", " ", "?", "красная кружка", "漢字", "\x00", "a\nb", "😀" * 20])
def test_any_text_is_read_to_some_end(text):
    reading = tiny_reader().read_task(text)
    assert 0 <= reading.confidence <= 1 and (reading.refusal or reading.text)


def test_padding_does_not_change_what_is_read():
    net = tiny_reader().net
    ids = torch.tensor([[2, 34, 35, 3]])
    short = net(ids, torch.ones_like(ids))
    longer = net(torch.cat([ids, torch.zeros(1, 3, dtype=torch.long)], 1), torch.tensor([[1, 1, 1, 1, 0, 0, 0]]))
    torch.testing.assert_close(short.kinds, longer.kinds)
    torch.testing.assert_close(short.values["target.shape"], longer.values["target.shape"])


def test_open_slots_are_said_with_what_is_known():
    vague = {"target.shape": OPEN, "target.colour": "red"}
    assert fill("how many {targets} are there?", vague) == "how many red things are there?"
    vague = {"target.shape": "mug", "target.colour": OPEN}
    assert fill("put the {target} in the tray", vague) == "put the mug in the tray"


def test_odds_count_only_the_slots_of_the_kind():
    sure = best_reading(outputs("open_drawer", {}), SETTINGS)
    unsure = best_reading(outputs("put_in_tray", {"target.shape": "mug"}), SETTINGS)
    assert sure[2] > 5 > unsure[2]


def test_templates_of_demonstrations_let_their_instructions_pass():
    new = ("lift the red mug", "lay it left of the blue cube")
    templates = templates_of(new, SETTINGS)
    assert templates == ("lift the {thing}", "lay it {direction} the {thing}")
    own = OwnTemplates(replace(SETTINGS, templates=templates))
    assert own.match("lift the green star") and not own.match("raise the green star")


def test_a_task_files_wording_is_a_template():
    assert as_template("push the {target} to the {zone} zone") == "push the {thing} to the {colour} zone"
    assert as_template("put the {second} {direction} the {reference}") == "put the {thing} {direction} the {thing}"


def test_settings_survive_their_description():
    assert ReaderSettings.from_dict(SETTINGS.to_dict()) == SETTINGS


@pytest.mark.parametrize(
    "change", [{"tasks": {}}, {"curve": [1.0, float("nan")]}, {"refuse_below": 2.0}, {"other": 1}, {"curve": [1.0]}]
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError):
        ReaderSettings.from_dict(SETTINGS.to_dict() | change)


def test_a_direction_that_was_not_learned_is_refused():
    slots = {**RED_MUG, "other.shape": "cube", "other.colour": "blue", "direction": "in front of"}
    reader = tiny_reader(replace(SETTINGS, lacking=("behind",)))
    reader.net = Says(outputs("place_beside", slots))
    position = len(reader.tokenizer.encode("put it").ids) - 1  # the token after them
    reader.net.output.pointers = torch.full((1, len(ROLES), 40), -9.0)
    reader.net.output.pointers[:, :, position] = 0.0
    assert reader.read_task("put it behind that").refusal.endswith('by "behind"')
    assert not reader.read_task("put it before that, not behind").refusal
