"""The documents: paths, numbers, pictures and blocks of code are those of the tree."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import forked_program
import pytest
from PIL import Image

from benchmarks import docs_files, layers_picture, numbers_page, record
from benchmarks.house import film, house_docs

ROOT = record.ROOT
DOCUMENTS = [ROOT / name for name in house_docs.documents()]
TREE = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
).stdout.split("\n")
NAMES = {Path(path).name for path in TREE}
FOLDERS = {path.split("/")[0] for path in TREE if "/" in path}
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
NOT_PATHS = re.compile(r"sim/(robot/.*|reset|success)|.*\bmy_.*|.*\b[A-Z]{2,}\b(?!\.md).*")  # topics; names to replace


def paths_in(document: Path) -> list[str]:
    """Words in code spans that name a file or folder of the repository."""
    found = []
    prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for span in CODE.findall(prose):
        for word in span.split():
            word = word.rstrip(".,;:")
            if not PATH.fullmatch(word) or NOT_PATHS.fullmatch(word):
                continue
            first = word.split("/")[0]
            if ("/" in word and first in FOLDERS) or word.endswith(".py"):
                found.append(word)
    return found


def exists(path: str) -> bool:
    """A path counts from the root or from ``vla_agent/``; a bare ``name.py`` is the name of some file."""
    return (ROOT / path).exists() or (ROOT / "vla_agent" / path).exists() if "/" in path else path in NAMES


@pytest.mark.skipif(len(NAMES) < 10, reason="no git here, so the tree's files are not known")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_path_named_in_the_documents_exists(document):
    missing = sorted({path for path in paths_in(document) if not exists(path)})
    assert not missing, f"{document.name} names what does not exist: {missing}"


def test_the_tables_of_the_architecture_name_every_room():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = {path.parent for path in (ROOT / "vla_agent").glob("*/__init__.py")}
    assert rooms and all(f"`vla_agent/{room.name}/`" in text for room in rooms)


def test_the_picture_has_every_layer_once():
    rooms = [room for layer in layers_picture.layers() for room in layer]
    assert sorted(rooms) == sorted(layers_picture.IDEAS)
    assert set(layers_picture.BANDS) <= set(rooms)


def test_made_pages_are_up_to_date():
    """Numbers and picture are what the records and the layers say: `python -m benchmarks docs` writes them."""
    assert docs_files.check() == 0


@pytest.mark.parametrize(
    ("name", "unit", "value", "interval", "words"),
    [
        ("a", "of episodes", 0.87, [0.838, 0.897], "**87 %** of episodes (83.8 to 89.7 %)"),
        ("a", "share", 1.0, None, "**100 %** of the cases"),
        ("a", "of 20", 20.0, None, "**20 of 20**"),
        ("a", "of the loss", 3.1e-8, None, "**3.1e-08** of the loss"),
        ("a", "ms", 8.96, [8.89, 9.03], "**8.96 ms** (8.89 to 9.03 ms)"),
        ("spine-wordings", "share", 0.08, [0.046, 0.1], "**8.0 percentage points** (4.6 to 10.0 percentage points)"),
        ("policy-vs-smolvla", "ratio", 2.593, None, "**2.59 times** our latency"),
    ],
)
def test_a_result_has_unit_and_meaning(name, unit, value, interval, words):
    assert numbers_page._result({"name": name, "unit": unit, "value": value, "interval": interval}) == words


def test_the_meanings_are_of_benchmarks_that_exist():
    assert {*numbers_page.NOUNS, *numbers_page.DIFFERENCES} <= set(record.names())


def test_every_block_that_could_run_says_whether_it_does():
    unmarked = [b for d in house_docs.documents() for b in house_docs.blocks(d) if not b.marker]
    assert not unmarked, [f"{b.file}:{b.line}" for b in unmarked]
    silent = [b for d in house_docs.documents() for b in house_docs.blocks(d) if b.marker == "not run" and not b.note]
    assert not silent, [f"{b.file}:{b.line} gives no reason" for b in silent]


def test_the_readme_program_ends_with_a_result(tmp_path):
    """Its block of Python prints an outcome in an empty folder and raises nothing; `house-docs` runs all blocks."""
    (block,) = (b for b in house_docs.blocks("README.md") if b.language == "python" and b.marker == "run")
    (tmp_path / "block.py").write_text(block.code)
    done = forked_program.run([tmp_path / "block.py"], tmp_path, os.environ | {"HOME": str(tmp_path)})
    assert done.returncode == 0 and re.search(r"(success|time is up) after \d+ steps", done.stdout), done


def test_a_failing_block_is_reported_with_its_output(tmp_path):
    failing = house_docs.Block("x.md", 1, "bash", "echo before\nfalse\necho after\n", "run", "")
    (tmp_path / ".home").mkdir()
    seconds, error = house_docs._run(failing, tmp_path)
    assert "exit code 1: before" in error and "after" not in error


def test_the_film_is_small_and_moves():
    assert film.FILM.stat().st_size < 2_000_000
    with Image.open(film.FILM) as animation:
        assert getattr(animation, "n_frames", 1) > 50


def test_pictures_in_html_exist():
    for document in DOCUMENTS:
        for source in re.findall(r'<img[^>]* src="([^"]+)"', document.read_text()):
            assert (document.parent / source).exists(), source


def test_the_tests_that_hold_a_promise_exist() -> None:
    written = set(re.findall(r"\btest_\w+\b", (ROOT / "docs" / "security.md").read_text()))
    files = [ROOT / path for path in TREE if path.startswith("tests/") and path.endswith(".py")]
    there = {name for file in files if file.exists() for name in re.findall(r"def (test_\w+)", file.read_text())}
    missing = sorted(written - there - {file.stem for file in files})
    assert len(written) > 50 and not missing
