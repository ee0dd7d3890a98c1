"""YAML from elsewhere: nodes, depth, aliases, tags and numbers are bounded."""

import pytest
from ruamel.yaml.error import YAMLError

from vla_agent.errors import RobotError
from vla_agent.files import bounded_yaml
from vla_agent.files.bounded_yaml import parse_yaml, read_yaml


def parsed(text, kind="safe"):
    return parse_yaml(text, "robot.yaml", RobotError, kind)


@pytest.mark.parametrize("kind", ["safe", "rt"])
def test_ordinary_files_are_read(kind):
    assert parsed("a: &x [1, 2.5, text]\nb: *x\nc: {d: null}\n", kind) == {
        "a": [1, 2.5, "text"],
        "b": [1, 2.5, "text"],
        "c": {"d": None},
    }


@pytest.mark.parametrize("opening, closing", [("[", "]"), ("{a: ", "}"), ("[{a: ", "}]")])
def test_depth_at_the_limit_and_one_level_more(monkeypatch, opening, closing):
    monkeypatch.setattr(bounded_yaml, "DEPTH", 6)
    levels = opening.count("[") + opening.count("{")
    inside = 6 // levels
    parsed(opening * inside + "1" + closing * inside)
    with pytest.raises(RobotError, match="nested too deeply(.|\n)*at most 6"):
        parsed(opening * (inside + 1) + "1" + closing * (inside + 1))


def test_depth_through_an_alias(monkeypatch):
    monkeypatch.setattr(bounded_yaml, "DEPTH", 4)
    parsed("a: &x [[1]]\nb: [*x]\n")
    with pytest.raises(RobotError, match="nested too deeply"):
        parsed("a: &x [[1]]\nb: [[*x]]\n")


def test_nodes_at_the_limit_and_one_more(monkeypatch):
    monkeypatch.setattr(bounded_yaml, "YAML_NODES", 4)
    parsed("[1, 2, 3]")
    with pytest.raises(RobotError, match="at most 4 keys and values"):
        parsed("[1, 2, 3, 4]")


def test_an_alias_counts_as_what_it_stands_for(monkeypatch):
    monkeypatch.setattr(bounded_yaml, "YAML_EXPANDED", 13)
    parsed("a: &x [1, 2, 3]\nb: *x\n")  # 1 + 1 + 4 + 1 + 4, and the file
    monkeypatch.setattr(bounded_yaml, "YAML_EXPANDED", 11)
    with pytest.raises(RobotError, match="after every alias"):
        parsed("a: &x [1, 2, 3]\nb: [*x]\n")


def test_a_bomb_of_aliases_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 9)]
    with pytest.raises(RobotError, match="after every alias"):
        parsed("\n".join(lines))


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: *a}", "&a [1, &a [*a]]"])
def test_an_alias_inside_of_itself_is_refused(text):
    with pytest.raises(RobotError, match="anchor that is complete"):
        parsed(text)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system [x]", "!x 1", "!!binary aGk=", "!!set {a}", "!!str 1"]
)
@pytest.mark.parametrize("kind", ["safe", "rt"])
def test_tags_are_refused(tag, kind):
    with pytest.raises(RobotError, match="the tag"):
        parsed(f"a: {tag}", kind)


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e999"])
def test_numbers_are_finite(value):
    with pytest.raises(RobotError, match="finite numbers") as refused:
        parsed(f"a: [{{b: {value}}}]")
    assert refused.value.key == "a.0.b"


def test_whole_numbers_of_64_bits():
    assert parsed(f"a: {2**64 - 1}") == {"a": 2**64 - 1}
    with pytest.raises(RobotError, match="64 bits"):
        parsed(f"a: {2**64}")


@pytest.mark.parametrize("text", ["a: [", "2001-13-01", "a: 1\n---\nb: 2\n", "1" * 5000, "a: 1\na: 2\n", "*x"])
def test_what_is_no_yaml_is_an_error_of_yaml(text):
    with pytest.raises((YAMLError, RobotError)):
        parsed(text)


def test_size_of_the_file(tmp_path, monkeypatch):
    file = tmp_path / "robot.yaml"
    file.write_text("a: 1234")
    monkeypatch.setattr(bounded_yaml, "YAML_BYTES", 7)
    assert read_yaml(file, RobotError) == {"a": 1234}
    monkeypatch.setattr(bounded_yaml, "YAML_BYTES", 6)
    with pytest.raises(RobotError, match="larger than any"):
        read_yaml(file, RobotError)
