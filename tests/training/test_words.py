"""Words from public lists: none that measures, none for calibration in what is learned, colours as they look."""

import re

import numpy as np
import pytest

from benchmarks.nano.changes import free_wordings
from benchmarks.words.colour_names import names_of, to_lab
from benchmarks.words.make_words import measuring_words, split, without
from benchmarks.words.wordnet import WordNet
from sim.tasks.task import load_suite
from sim.world.scene import COLOURS
from vla_agent.errors import RecipeError
from vla_agent.training.reading.examples import Examples
from vla_agent.training.reading.grammar_file import FOLDER, read_grammar
from vla_agent.training.reading.train_reader import held_out_wordings, settings_of
from vla_agent.training.reading.words import Words, read_words, with_words

FILE = FOLDER / "en-words.yaml"


def entries(words: Words) -> set[str]:
    tables = [w for table in (words.shapes, words.colours, words.lists) for ws in table.values() for w in ws]
    return {w.replace("_", " ") for w in (*tables, *words.unknown_things, *words.unknown_colours)}


def test_no_word_that_measures_is_among_them():
    own = " ".join(w for f in load_suite("tabletop").values() for w in f.wordings.train).split()
    measuring = {w for ws in free_wordings()["synonyms"].values() for w in ws} - set(own)
    assert measuring == measuring_words()
    words = read_words(FILE)
    spoken = " ; ".join(entries(words) | entries(words.held_back))
    assert not any(re.search(rf"\b{re.escape(word)}s?\b", spoken) for word in measuring)


def test_a_forbidden_word_is_left_out_with_its_compounds():
    words = {("colours", "red"): {"ruby", "deep ruby", "rubyish", "rubycon"}}
    assert without(words, {"ruby"}) == {("colours", "red"): {"rubycon"}}


def test_words_for_calibration_are_in_nothing_to_learn_from():
    """Not in the file, and not in the texts that are drawn."""
    words, grammar = read_words(FILE), read_grammar(FOLDER / "en.yaml")
    held = entries(words.held_back)
    assert len(held) > 20 and not any(set(w.split()) & held for w in entries(words))
    families = list(load_suite("tabletop").values())
    learned, unseen = with_words(grammar, words), with_words(grammar, words.held_back)
    settings = settings_of([learned], families)
    examples = Examples(settings, [learned], families, list(held_out_wordings(families)), unseen=[unseen])
    rng = np.random.default_rng(0)
    trained = {w for _ in range(400) for w in re.findall(r"\w+", examples.draw(rng).text)}
    calibrated = {w for _ in range(400) for w in re.findall(r"\w+", examples.draw_held_back(rng).text)}
    assert not held & trained and len(held & calibrated) > 5


def test_the_split_holds_back_words_that_the_grammar_has_not():
    words = {("shapes", "ball"): {f"word{k}" for k in range(100)} - {"word7"} | {"round word7", "sphere"}}
    train, held = split(words, "a sphere is a ball")
    (key,) = words
    assert 5 < len(held[key]) < 40 and "sphere" in train[key]
    assert all(not set(w.split()) & held[key] for w in train[key])


def test_colours_are_sorted_by_what_they_look_like():
    found = names_of(list(COLOURS), ["pink", "brown"])
    assert "ruby" in found["red"] and "cobalt" in found["blue"] and "dark red" in found["red"]
    assert not set(found["red"]) & set(found["brown"])


@pytest.mark.parametrize(
    ("rgb", "lab"), [((1, 1, 1), (100, 0, 0)), ((1, 0, 0), (53.24, 80.09, 67.2)), ((0, 0, 0), (0, 0, 0))]
)
def test_cielab_has_the_values_of_the_standard(rgb, lab):
    np.testing.assert_allclose(to_lab(np.array([rgb], float))[0], lab, atol=0.02)


def test_wordnet_gives_a_sense_and_what_lies_below_it(tmp_path):
    """A database of two synsets, the data of nouns in two files as some distributions have them."""
    first = "00000000 06 n 02 mug 0 Toby 0 001 ~ 00000061 n 0000 | a vessel"
    first = first.replace("00000061", f"{len(first) + 1:08d}")
    second = f"{len(first) + 1:08d} 06 n 01 beer_mug 0 001 @ 00000000 n 0000 | for beer"
    (tmp_path / "data.noun1").write_text(first)
    (tmp_path / "data.noun2").write_text(second + "\n")
    (tmp_path / "data.verb").write_text("")
    (tmp_path / "index.noun").write_text("  a licence\nmug n 1 1 ~ 1 0 00000000\n")
    (tmp_path / "index.verb").write_text("")
    found = WordNet(tmp_path)
    assert found.words("mug.n.1", 0) == ["mug"] and found.words("mug.n.1", 1) == ["mug", "beer mug"]
    with pytest.raises(KeyError):
        found.sense("cup.n.1")


def test_a_file_of_words_with_a_wrong_key_says_so(tmp_path):
    (tmp_path / "mine.yaml").write_text("colors: {red: [cherry]}\n")
    with pytest.raises(RecipeError, match="colors"):
        read_words(tmp_path / "mine.yaml")
