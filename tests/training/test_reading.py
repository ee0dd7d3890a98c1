"""Text to learn reading from: grammars, held-out wordings, noise; and a reader's training, stopped and resumed."""

import re
import shutil

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from benchmarks.nano.changes import free_wordings
from benchmarks.shared.tiny_reader import save_encoder, tiny_reader
from sim.tasks.task import load_suite
from vla_agent.errors import RecipeError
from vla_agent.models.reader.reader_settings import UNKNOWN
from vla_agent.policy.loading import load_policy
from vla_agent.training.reading.examples import Examples
from vla_agent.training.reading.grammar_file import FOLDER, read_grammar
from vla_agent.training.reading.noise import joined, with_typos
from vla_agent.training.reading.reader_batches import ReaderBatches
from vla_agent.training.reading.reader_recipe import ReaderRecipe, TrainReader
from vla_agent.training.reading.train_reader import held_out_wordings, settings_of, train_reader
from vla_agent.training.reading.wording import expand

LANGUAGES = ("en", "de", "es", "fr", "ru")
SYNONYMS = [word for words in free_wordings()["synonyms"].values() for word in words]


@pytest.fixture(scope="module")
def examples():
    families = list(load_suite("tabletop").values())
    grammars = [read_grammar(FOLDER / f"{language}.yaml") for language in LANGUAGES]
    return Examples(settings_of(grammars, families), grammars, families, list(held_out_wordings(families)))


@pytest.fixture(scope="module")
def drawn(examples):
    rng = np.random.default_rng(0)
    return [examples.draw(rng) for _ in range(2500)]


def test_every_example_has_the_slots_of_its_kind(examples, drawn):
    for example in drawn:
        assert set(example.slots) == set(examples.settings.roles(example.kind))
        for role, value in example.slots.items():
            assert value in examples.settings.values(role)


def test_spans_lie_on_the_words(drawn):
    for example in drawn:
        for _, start, end in example.spans:
            assert 0 <= start < end <= len(example.text) and example.text[start:end].strip()


def test_all_kinds_and_unknown_things_are_drawn(examples, drawn):
    assert {example.kind for example in drawn} == set(examples.settings.kinds)
    assert any(UNKNOWN in example.slots.values() for example in drawn)


def test_nothing_that_measures_is_trained_on(drawn):
    """Neither the free wordings nor the held-out ones of tasks, whatever fills their slots."""
    families = list(load_suite("tabletop").values())
    held_out = [w for f in families for w in f.wordings.held_out]
    held_out += [w for name, wordings in free_wordings().items() if name != "synonyms" for w in wordings]
    patterns = [as_pattern(wording) for wording in held_out]
    clean = [plain(example.text) for example in drawn if example.clean]
    assert not [text for text in clean for pattern in patterns if pattern.fullmatch(text)]


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w -]", " ", text.lower()).split())


def as_pattern(wording: str) -> re.Pattern[str]:
    """The wording with one to five words in each slot, and any words that tell a direction."""
    thing, direction = r"[\w-]+(?: [\w-]+){0,4}", r"(?:[\w-]+ ){0,4}(?:left|right|front)\w*(?: side)?(?: of)?"
    parts = re.split(r"(\{\w+\})", wording)
    slots = (direction if part == "{direction}" else thing if part[:1] == "{" else plain(part) for part in parts)
    return re.compile(" ".join(part for part in slots if part))


def test_words_that_measure_stand_in_no_grammar():
    own = " ".join(w for f in load_suite("tabletop").values() for w in f.wordings.train)
    for language in ("en",):
        text = (FOLDER / f"{language}.yaml").read_text().lower()
        lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        wrong = [w for w in SYNONYMS if w not in own.split() and re.search(rf"\b{w}\b", lines)]
        assert not wrong


def test_typing_errors_keep_the_roles():
    rng = np.random.default_rng(1)
    segments = [("put the ", ""), ("yellow", "target.colour"), (" ", ""), ("bottle", "target.shape")]
    changed = with_typos(segments, 2, rng)
    text, spans = joined(changed)
    assert text != "put the yellow bottle" and [role for role, *_ in spans] == ["target.colour", "target.shape"]


def test_words_can_mean_a_direction():
    parts = expand("(devant:in front of) {other}", {}, ("in front of",), np.random.default_rng(0))
    assert (parts[0].text, parts[0].meant, parts[-1].slot) == ("devant", "in front of", "other")


def test_a_grammar_that_lacks_a_list_says_so(tmp_path):
    described = YAML(typ="safe").load((FOLDER / "en.yaml").read_text())
    described["others"] = ["wash <NOTHING>"]
    with (tmp_path / "mine.yaml").open("w") as file:
        YAML().dump(described, file)
    with pytest.raises(RecipeError, match="lists.NOTHING"):
        read_grammar(tmp_path / "mine.yaml")


def test_frozen_layers_are_the_lowest_ones(examples):
    net = tiny_reader().net.requires_grad_(True)
    ReaderBatches(net, None, examples, TrainReader(samples=1, frozen_layers=1))
    trained = {name for name, weights in net.named_parameters() if weights.requires_grad}
    assert not any(name.startswith("encoder.encoder.layer.0.") for name in trained)
    assert not any(name.startswith("encoder.embeddings.") for name in trained)
    assert {"kind.weight", "shape.weight", "queries"} <= trained


def recipe(folder, samples=16, **more):
    settings = {"samples": samples, "batch": 4, "calibrate": 30, "warmup_steps": 1, "learning_rate": 1e-3}
    return ReaderRecipe.model_validate(
        {"name": "r", "encoder": str(save_encoder(folder)), "grammars": ["en", "ru"], "reader": settings | more}
    )


def test_a_stopped_training_goes_on_to_the_same_reader(tmp_path):
    """The checkpoint after half of the steps, and what follows, give the weights of the uninterrupted run."""
    made = recipe(tmp_path / "encoder")
    whole = load_policy(train_reader(made, tmp_path / "whole"))
    assert whole.reader is not None and whole.reader.read_task("put the red mug in the tray").is_own
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "policy")
    again = load_policy(train_reader(made, tmp_path / "again", resume=True))
    theirs = again.reader.net.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in whole.reader.net.state_dict().items())
    assert again.reader.settings == whole.reader.settings
    with pytest.raises(RecipeError, match="already holds"):
        train_reader(made, tmp_path / "whole")
