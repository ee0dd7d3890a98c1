"""The house's benchmarks count what is planted: at the limit nothing, one step further one finding."""

from __future__ import annotations

import importlib
import sys
import zlib
from pathlib import Path

import pytest

from benchmarks.house import code_lines, house_layers, house_path, house_shape

PROJECT = """\
[tool.importlinter]
root_packages = ["{package}"]

[[tool.importlinter.contracts]]
name = "Layers"
type = "layers"
layers = ["{package}.upper", "{package}.lower"]
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A folder that the benchmarks take for the project, with one package ``rooms``."""
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "__init__.py").touch()
    for module in (code_lines, house_shape, house_layers):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "PACKAGES", ("rooms",))
    return tmp_path / "rooms"


def counts() -> dict[str, int]:
    return {row["finding"]: row["count"] for row in house_shape.run()["rows"]}


def function(lines: int = 2, parameters: int = 0, branches: int = 0) -> str:
    """The text of a function of so many lines."""
    head = f"def f({', '.join(f'p{k}' for k in range(parameters))}):"
    body = [line for k in range(branches) for line in (f"    if {k}:", f"        pass  # {k}")]
    body += [f"    x = {k}" for k in range(lines - 1 - len(body))]
    return "\n".join([head, *body]) + "\n"


@pytest.mark.parametrize(
    ("kind", "just", "more"),
    [
        ("functions over 60 lines", {"lines": 60}, {"lines": 61}),
        ("functions over 8 parameters", {"parameters": 8}, {"parameters": 9}),
        ("functions of complexity over 10", {"lines": 30, "branches": 9}, {"lines": 30, "branches": 10}),
    ],
)
def test_a_function_over_a_limit_is_counted(house, kind, just, more):
    (house / "a.py").write_text(function(**just))
    assert counts()[kind] == 0 and house_shape.run()["passed"]
    (house / "a.py").write_text(function(**more))
    assert counts()[kind] == 1 and not house_shape.run()["passed"]
    assert [row["finding"] for row in house_shape.run()["rows"] if "rooms/a.py:1" in row["where"]] == [kind]


def test_methods_are_counted_without_self(house):
    text = function(parameters=8).replace("def f(", "    def f(self, ").replace("\n    x", "\n        x")
    (house / "a.py").write_text(f"class C:\n{text}")
    assert counts()["functions over 8 parameters"] == 0
    (house / "a.py").write_text(f"class C:\n{text}".replace("p0", "p0, more"))
    assert counts()["functions over 8 parameters"] == 1


def test_a_folder_over_its_limit_is_counted_without_its_init(house):
    for k in range(14):
        (house / f"m{k}.py").touch()
    assert counts()["folders over 14 modules"] == 0
    (house / "m14.py").touch()
    assert counts()["folders over 14 modules"] == 1


def test_lines_that_stand_twice_are_counted_without_comments_and_imports(house):
    same = [f"x{k} = {k}" for k in range(6)]
    (house / "a.py").write_text("import os\n" + "\n".join(same) + "\n")
    (house / "b.py").write_text("import os\n\n# a comment\n" + "\n".join(same[:5]) + "\ny = 1\n")
    assert counts()["runs of 6 identical lines"] == 0
    (house / "b.py").write_text('"""Text."""\n' + "\n\n# between\n".join(same) + "\ny = 1\n")
    found = house_shape.run()
    assert (
        counts()["runs of 6 identical lines"] == 1 and found["passed"] and "rooms/a.py:2" in found["rows"][-1]["where"]
    )
    longer = [f"z{k} = {k}" for k in range(9)]
    for name in ("a.py", "b.py"):
        (house / name).write_text("\n".join(longer) + "\n")
    assert counts()["runs of 6 identical lines"] == 1  # one run, however long
    for copy in "cdefg":
        (house / f"{copy}.py").write_text("\n".join(longer) + "\n")
    assert not house_shape.run()["passed"]


@pytest.fixture
def layered(house, monkeypatch, request):
    """A package of its own name with two layers; what was imported from it is forgotten afterwards."""
    package = f"rooms_{zlib.crc32(request.node.name.encode())}"
    monkeypatch.setattr(house_layers, "PACKAGES", (package,))
    monkeypatch.setattr(house_layers, "BESIDE", (package,))
    monkeypatch.setattr(sys, "path", list(sys.path))
    place = house.rename(house.with_name(package))
    (house.parent / "pyproject.toml").write_text(PROJECT.format(package=package))
    (place / "upper.py").write_text(f"from {package} import lower\n")
    (place / "lower.py").touch()
    yield place
    importlib.invalidate_caches()


def test_imports_in_order_are_no_finding(layered):
    result = house_layers.run()
    assert result["value"] == 0 and result["n"] == 3


def test_an_import_upwards_breaks_the_contract_and_makes_a_circle_also_inside_a_function(layered):
    (layered / "lower.py").write_text(f"def f():\n    from {layered.name} import upper\n")
    assert house_layers.broken_contracts() == ["Layers"]
    assert house_layers.import_circles(house_layers.build()) == [[f"{layered.name}.lower", f"{layered.name}.upper"]]
    assert house_layers.run()["value"] == 2


def test_a_module_in_no_layer_is_counted_and_one_below_a_layer_is_not(layered):
    (layered / "lower.py").unlink()
    (layered / "lower").mkdir()
    (layered / "lower" / "__init__.py").touch()
    (layered / "lower" / "part.py").touch()
    assert house_layers.unnamed(house_layers.build()) == []
    (layered / "lowest.py").touch()
    assert house_layers.unnamed(house_layers.build()) == [f"{layered.name}.lowest"]


def test_an_import_tool_that_fails_is_no_answer(layered):
    (layered.parent / "pyproject.toml").write_text("[tool.importlinter]\n")
    with pytest.raises((RuntimeError, KeyError, IndexError)):
        house_layers.run()


WALKED = '''\
from dataclasses import dataclass


@dataclass
class Point:
    """A class."""

    x: int
    y: int = 0


class Thing:
    size = 3

    def __init__(self):
        self.point = Point(1)  # constructed on the way

    def act(self):
        """A docstring."""

        # a comment
        return helper(self.point)

    def unused(self):
        return 1


def helper(point):
    return point.x


def never():
    return 2
'''


def path_lines(root: Path, text: str, monkeypatch) -> dict[str, object]:
    """What one ``Thing().act()`` enters."""
    name = f"walked_{len(text)}"
    (root / f"{name}.py").write_text(text)
    monkeypatch.setattr(house_path, "ROOT", root)
    monkeypatch.setattr(house_path, "PACKAGE", root)
    monkeypatch.syspath_prepend(str(root))
    module = importlib.import_module(name)
    with house_path.entered_code() as entered:
        module.Thing().act()
    sys.modules.pop(name)
    return house_path.row(entered)


def test_the_path_counts_the_code_that_is_entered_and_nothing_else(tmp_path, monkeypatch):
    # Point: 2 fields; Thing: 1 field, 2 lines of __init__, 2 of act; helper: 2
    assert path_lines(tmp_path, WALKED, monkeypatch)["lines"] == 9


def test_a_longer_path_counts_more(tmp_path, monkeypatch):
    longer = WALKED.replace("    return point.x", "    once = point.x\n    return once")
    assert path_lines(tmp_path, longer, monkeypatch)["lines"] == 10
    elsewhere = WALKED.replace("    return 2", "    two = 2\n    return two")
    assert path_lines(tmp_path, elsewhere, monkeypatch)["lines"] == 9
