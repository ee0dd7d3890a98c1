"""Writes the reader's words from public lists: ``python -m benchmarks.words.make_words WORDNET ENCODER``.

WORDNET is a folder with the database files of WordNet 3.0 (``data.noun``, ``index.noun``, ``index.sense`` ...).  What
measures is left out by the machine: words of `benchmarks.nano`, unless the policy's own wordings have them.  ENCODER is
the folder of the text encoder; words that its vocabulary lacks are rare, and left out.  Every fifth word is kept for
the calibration of the confidence alone, and no word of the training contains one of these.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.nano.changes import free_wordings
from benchmarks.words.colour_names import names_of
from benchmarks.words.wordnet import WordNet
from sim.tasks.task import load_suite
from sim.world.scene import COLOURS
from vla_agent.files.write_aside import file_aside
from vla_agent.training.reading.grammar_file import FOLDER, Grammar, read_grammar

CONCEPTS = Path(__file__).with_name("concepts.yaml")
HEADER = """# English words beside those of en.yaml: WordNet 3.0 (WORDNET-LICENSE.txt), colour names of XKCD and CSS.
# Written by python -m benchmarks.words.make_words; no word that measures stands here.
# held_back: words that only calibrate the confidence.
"""
OTHER, LACKING = "unknown_things", "unknown_colours"
THIN = 4  # every this many-th name is kept that says its colour or shape itself, as in *pale grass green*
COMMON = 1  # least count of a thing's word in WordNet's tagged texts
COARSE = re.compile(r"poo|shit|puke|vomit|snot|barf|booger|diarrhea|piss|crap|ugly|bile|negro|coffin|sex|condom")
Words = dict[tuple[str, str], set[str]]  # (section, name) -> words


def public_words(wordnet: WordNet, folder: Path, grammar: Grammar) -> Words:
    """The words of all concepts, those of two concepts left out."""
    concepts = YAML(typ="safe").load(CONCEPTS.read_text(encoding="utf-8"))
    found: Words = {}
    for section in ("shapes", "colours", "lists"):
        for name, senses in concepts[section].items():
            found[section, name] = {w for sense, depth in senses.items() for w in wordnet.words(sense, depth)}
    lacking = concepts["lacking"]
    found[LACKING, ""] = {w for senses in lacking.values() for s, d in senses.items() for w in wordnet.words(s, d)}
    for colour, names in names_of(list(COLOURS), list(lacking)).items():
        found[("colours", colour) if colour in COLOURS else (LACKING, "")] |= set(names)
    found[OTHER, ""] = _things(wordnet, folder, concepts)
    return _told_apart(found, grammar)


def _things(wordnet: WordNet, folder: Path, concepts: dict[str, Any]) -> set[str]:
    """Common words for things of other kinds: what they mean first is such a thing."""
    places = {p for s, d in concepts["things"].items() for p in wordnet.below("n", wordnet.sense(s), d)}
    places -= {p for s, d in concepts["not_things"].items() for p in wordnet.below("n", wordnet.sense(s), d)}
    found = set()
    for line in (folder / "index.sense").read_text(encoding="utf-8").splitlines():
        key, place, number, count = line.split()
        lemma, _, kind = key.partition("%")
        if kind[0] == "1" and number == "1" and int(count) >= COMMON and int(place) in places:
            found.add(lemma.replace("_", " "))
    return found


def _told_apart(found: Words, grammar: Grammar) -> Words:
    """Without words that are too long, coarse, or have two meanings; the grammar's own words keep theirs."""
    own = {("shapes", n): set(w) for n, w in grammar.shapes.items()}
    own |= {("colours", n): set(w) for n, w in grammar.colours.items()}
    own |= {(OTHER, ""): set(grammar.unknown_things), (LACKING, ""): set(grammar.unknown_colours)}
    # a verb or a place may be said in several ways: only nouns and colours must be told apart
    nouns = [key for key in found if key[0] != "lists"]
    count = Counter(w for key in nouns for w in found[key] | {w.replace("_", " ") for w in own[key]})
    fits = re.compile(r"[a-z]{3,14}(?:[ '-][a-z]{2,12}){0,2}")
    taken = {w.replace("_", " ") for words in own.values() for w in words}
    return {
        key: {
            w
            for w in words
            if fits.fullmatch(w) and not COARSE.search(w) and (key[0] == "lists" or (count[w] == 1 and w not in taken))
        }
        for key, words in found.items()
    }


def without(words: Words, forbidden: set[str]) -> Words:
    """Without every entry that has one of these words in it, or its plural."""
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(forbidden)))})(?:s|es|ish|y)?\b")
    return {key: {w for w in entries if not pattern.search(w)} for key, entries in words.items()}


def common(words: Words, vocabulary: set[str]) -> Words:
    """Single words that a vocabulary has, and compounds of these; few of those that say what they mean themselves."""

    def fits(entry: str, name: str) -> bool:
        said = name in entry and name != entry and sha256(entry.encode()).digest()[1] % THIN
        return not said and all(word in vocabulary for word in re.split("[ '-]", entry))

    return {key: {w for w in entries if fits(w, key[1] or "-")} for key, entries in words.items()}


def own_wordings() -> list[str]:
    """The policy's own wordings."""
    return [wording for family in load_suite("tabletop").values() for wording in family.wordings.train]


def measuring_words() -> set[str]:
    """The words that measure and no wording of the policy's own has."""
    own = set(" ".join(own_wordings()).split())
    return {w for words in free_wordings()["synonyms"].values() for w in words} - own


def split(words: Words, grammar_text: str) -> tuple[Words, Words]:
    """To train with, and to calibrate with: every fifth single word that the grammar has nowhere."""
    known = set(re.findall(r"[a-z]+", grammar_text.lower()))
    held = {
        key: {w for w in entries if " " not in w and w not in known and sha256(w.encode()).digest()[0] % 5 == 0}
        for key, entries in words.items()
    }
    rest = without(words, {w for entries in held.values() for w in entries})
    return rest, held


def described(words: Words) -> dict[str, Any]:
    """As a grammar file has them."""
    made: dict[str, Any] = {}
    for (section, name), entries in sorted(words.items()):
        listed = sorted(w.replace(" ", "_") if section in ("shapes", "colours") else w for w in entries)
        if name and listed:
            made.setdefault(section, {})[name] = listed
        elif listed:
            made[section] = listed
    return made


def main() -> None:
    """Write ``en-words.yaml``."""
    folder, encoder, file = Path(sys.argv[1]), Path(sys.argv[2]), FOLDER / "en.yaml"
    vocabulary = set(json.loads((encoder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    words = common(public_words(WordNet(folder), folder, read_grammar(file)), vocabulary)
    words = without(words, measuring_words())
    train, held = split(words, " ".join([file.read_text(encoding="utf-8"), *own_wordings()]))
    yaml = YAML()
    yaml.width, yaml.default_flow_style = 200, None
    with file_aside(FOLDER / "en-words.yaml") as aside, aside.open("w", encoding="utf-8") as target:
        target.write(HEADER)
        yaml.dump(described(train) | {"held_back": described(held)}, target)
    print({key: (len(train[key]), len(held[key])) for key in words})


if __name__ == "__main__":
    main()
