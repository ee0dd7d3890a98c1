"""The tokenizer in plain Python gives the ids and places of the package tokenizers, whatever the text."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from vla_agent.export.exported.wordpiece import WordPiece

NANO = Path(__file__).parents[2] / "policies" / "tabletop-nano"
TEXTS = (
    "put the red mug in the tray, then the blue cube",
    "Räume die BLAUE Tasse weg!",
    "положи красную кружку на поднос",
    "mets l’étoile à côté du bol, s'il te plaît",
    "去 拿 杯子 😀",
    "",
    "a\u0301 \u2028 x\u00a0y\tz $5+3=8 ﬁ İ ß",
)


def both(file: Path, longest: int):
    data = file.read_bytes()
    theirs = Tokenizer.from_buffer(data)
    theirs.no_padding()
    theirs.enable_truncation(longest)
    return WordPiece(data, longest), theirs


@pytest.fixture(scope="module", params=["backbone", "reader"])
def pair(request):
    return both(NANO / request.param / "tokenizer.json", 40 if request.param == "backbone" else 512)


def require_same(pair, text):
    ours, theirs = pair[0].encode(text), pair[1].encode(text)
    assert ours.ids == theirs.ids
    known = [k for k, token in enumerate(theirs.ids) if theirs.offsets[k][1] > theirs.offsets[k][0]]
    assert [ours.offsets[k] for k in known] == [theirs.offsets[k] for k in known]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_places_are_those_of_tokenizers(pair, text):
    require_same(pair, text)


# Python's tables and those of tokenizers are of other versions of Unicode, which differ where letters are new
ASSIGNED = st.characters(max_codepoint=0x5FF, exclude_categories=("Cn", "Cs", "Co"))


@settings(max_examples=100, deadline=None)
@given(st.text(ASSIGNED, max_size=40))
def test_any_text_has_the_ids_of_tokenizers(pair, text):
    require_same(pair, text)


def test_a_long_text_is_cut_where_tokenizers_cuts_it(pair):
    require_same(pair, "put the mug in the tray " * 200)


def test_another_kind_of_tokenizer_is_refused():
    with pytest.raises(ValueError, match="not WordPiece"):
        WordPiece(b'{"model": {"type": "BPE"}, "pre_tokenizer": {"type": "ByteLevel"}}', 10)
