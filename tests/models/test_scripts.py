"""A text in letters that no grammar has is refused by that reason, before it is read."""

from dataclasses import replace

import pytest

from benchmarks.shared.tiny_reader import tiny_reader
from vla_agent.models.reader.reader import FOREIGN
from vla_agent.models.reader.reader_settings import ReaderSettings
from vla_agent.models.reader.scripts import scripts_of


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("open the drawer, 2 times! 🙂", ("LATIN",)),
        ("ｏｐｅｎ Größe n.º", ("LATIN",)),
        ("открой the ящик", ("CYRILLIC", "LATIN")),
        ("引き出しを開けて", ("CJK", "HIRAGANA")),
        ("ﾋｷﾀﾞｼ", ("KATAKANA",)),
        ("افتح الدرج", ("ARABIC",)),
        ("서랍을 열어", ("HANGUL",)),
        ("123 ?", ()),
    ],
)
def test_scripts_of_a_text(text, scripts):
    assert scripts_of(text) == scripts


def latin_reader():
    reader = tiny_reader()
    reader.settings = replace(reader.settings, scripts=("LATIN",))
    return reader


@pytest.mark.parametrize("said", ["引き出しを開けて", "открой ящик", "put the 赤い mug in the tray"])
def test_a_foreign_script_is_refused(said):
    reading = latin_reader().read_task(said)
    assert FOREIGN in reading.refusal and reading.text == said and reading.doubt == 1.0


def test_known_letters_are_read():
    assert FOREIGN not in latin_reader().read_task("öffne die Schublade").refusal


def test_own_wordings_pass_unread_and_settings_are_kept():
    reader = latin_reader()
    assert reader.read_task("put the red mug in the tray").is_own
    assert ReaderSettings.from_dict(reader.settings.to_dict()) == reader.settings
    before = reader.settings.to_dict()
    del before["scripts"]
    assert ReaderSettings.from_dict(before).scripts == ()
