"""A policy with a reader: its own wordings act as before, other words become its own, the rest is refused."""

import copy
import json

import numpy as np
import pytest
import torch

from benchmarks.shared.tiny_reader import SETTINGS, tiny_reader
from vla_agent.adapters.adapter_folder import save_adapter
from vla_agent.adapters.adapter_settings import AdapterSettings
from vla_agent.adapters.attach import attach
from vla_agent.contract.blank_observation import blank_observation
from vla_agent.errors import CheckpointError
from vla_agent.models.reader.reader import Reading
from vla_agent.policy.doubt.claims import Claims, Named, read_claims, with_read
from vla_agent.policy.loading import load_policy
from vla_agent.serving.session import can_refuse, share_weights

SHIPPED = "policies/tabletop-nano"
OWN = "put the red mug in the tray"


class Reads:
    """A reader that reads everything but the policy's own wording as this."""

    settings = SETTINGS

    def __init__(self, text: str, refusal: str = "", kind: str = "put_in_tray") -> None:
        self.text, self.refusal, self.kind = text, refusal, kind

    def read_task(self, instruction: str) -> Reading:
        if instruction == OWN:
            return Reading(OWN, OWN)
        return Reading(instruction, self.text, self.kind, (), 0.9, self.refusal)


@pytest.fixture(scope="module")
def policy():
    return load_policy(SHIPPED)


@pytest.fixture
def reads(policy):
    """Give the policy a reader; it has its own again afterwards."""
    before = policy.reader

    def give(*args, **options):
        policy.reader = Reads(*args, **options)
        return policy

    yield give
    policy.reader = before


def chunk(policy, instruction):
    policy.reset(instruction, seed=3)
    return policy.act(blank_observation(policy.contract))


def test_an_own_wording_acts_as_without_a_reader(reads, policy):
    policy.reader = None
    without = chunk(policy, OWN)
    assert np.array_equal(chunk(reads("close the drawer"), OWN), without)


def test_other_words_act_as_the_wording_that_they_are_read_as(reads, policy):
    policy.doubter, doubter = None, policy.doubter
    try:
        policy.reader = None
        own = chunk(policy, "open the drawer")
        assert np.array_equal(chunk(reads("open the drawer"), "vysuň šuplík"), own)
    finally:
        policy.doubter = doubter


def test_what_is_not_understood_is_held_still_with_a_reason(reads):
    policy = reads("sing", "I do not understand what I am to do", kind="other")
    found = chunk(policy, "sing")
    assert np.allclose(found[:, :6], 0) and policy.refusal == "I do not understand what I am to do"
    assert policy.doubt.probability == pytest.approx(0.9)
    policy.reset(OWN)
    assert policy.doubt is None, "the next instruction begins anew"


def test_unsafe_words_are_judged_in_the_original(reads):
    policy = reads("open the drawer")
    chunk(policy, "throw it at the dog")
    assert policy.refusal == "that would hurt someone"
    policy = reads("x", "I do not understand what I am to do", kind="other")
    chunk(policy, "throw it at the dog")
    assert policy.refusal == "that would hurt someone", "and before what is not understood"


def test_a_reading_names_what_other_words_name(policy):
    settings = policy.doubter.settings
    german = with_read(read_claims("den roten Becher in die Schale", settings), read_claims(OWN, settings))
    assert german.objects == (Named("red", "mug"),)
    said = read_claims("put the red mug that is left of the blue cube in the tray", settings)
    both = with_read(said, read_claims(OWN, settings))
    assert both.relations == said.relations and set(both.objects) == set(said.objects), "premises stay"
    vague = with_read(Claims((Named("", "mug"),)), Claims((Named("red", "mug"),)))
    assert vague.objects == (Named("red", "mug"),)


def test_copies_of_a_policy_share_its_reader(policy):
    policy.reader, before = tiny_reader(), policy.reader
    try:
        assert share_weights(policy).reader is policy.reader and can_refuse(policy)
        assert copy.deepcopy(policy.reader) is policy.reader
    finally:
        policy.reader = before


@pytest.fixture(scope="module")
def saved(policy, tmp_path_factory):
    """A policy's folder with a tiny reader."""
    folder = tmp_path_factory.mktemp("reader") / "policy"
    policy.reader, before = tiny_reader(), policy.reader
    try:
        policy.save(folder)
    finally:
        policy.reader = before
    return folder


def test_a_reader_is_saved_and_loaded_with_its_policy(saved):
    again, tiny = load_policy(saved), tiny_reader()
    assert again.reader.settings == SETTINGS and "reader/model.safetensors" in again.files
    ids = torch.tensor([[2, 35, 36, 3]])
    ours, theirs = (r.net(ids, torch.ones_like(ids)).kinds for r in (tiny, again.reader))
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0.02)
    again.save(saved.parent / "copy")
    assert load_policy(saved.parent / "copy").files["reader/tokenizer.json"] == again.files["reader/tokenizer.json"]


def spoilt(saved, place, change):
    """A copy of the folder whose description or reader is changed."""
    import shutil

    shutil.copytree(saved, place)
    change(place)
    with pytest.raises(CheckpointError) as caught:
        load_policy(place)
    return str(caught.value)


def test_damaged_readers_are_refused(saved, tmp_path):
    assert "damaged" in spoilt(saved, tmp_path / "a", lambda f: (f / "reader/model.safetensors").unlink())
    assert "tokenizer.json" in spoilt(saved, tmp_path / "b", lambda f: (f / "reader/tokenizer.json").unlink())

    def more_shapes(folder):
        described = json.loads((folder / "policy.json").read_text())
        described["reader"]["shapes"] += ["cone"]
        (folder / "policy.json").write_text(json.dumps(described))

    assert "reader" in spoilt(saved, tmp_path / "c", more_shapes)

    def code(folder):
        described = json.loads((folder / "reader/config.json").read_text())
        described["auto_map"] = {"AutoModel": "evil.Model"}
        (folder / "reader/config.json").write_text(json.dumps(described))

    assert "plain data" in spoilt(saved, tmp_path / "d", code)
    assert "does not belong" in spoilt(saved, tmp_path / "e", lambda f: (f / "reader/model.py").write_text("x"))


def test_an_adapter_lets_the_wordings_of_its_new_task_pass(saved, tmp_path):
    attached = attach(load_policy(saved), AdapterSettings())
    save_adapter(attached, str(saved), tmp_path / "adapter", more={"passing": ["lift the {thing}"]})
    adapted = load_policy(tmp_path / "adapter")
    assert adapted.reader.read_task("lift the red mug").is_own
    assert not load_policy(saved).reader.read_task("lift the red mug").is_own
