"""Shipped files are found from any folder; what lies in the present folder comes first."""

from __future__ import annotations

import pytest

from vla_agent.errors import CheckpointError
from vla_agent.files import shipped
from vla_agent.files.policy_folder import find_folder
from vla_agent.files.shipped import find_shipped


@pytest.mark.parametrize("name", ["policies/tabletop-nano", "policies/tabletop-nano.yaml", "gates/tabletop.yaml"])
def test_shipped_files_are_found_from_another_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert find_shipped(name).exists() and find_shipped(name).is_absolute()


def test_what_lies_in_the_present_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gates").mkdir()
    (tmp_path / "gates" / "tabletop.yaml").write_text("mine")
    assert find_shipped("gates/tabletop.yaml").read_text() == "mine"


def test_an_installed_package_has_them_in_its_prefix(tmp_path, monkeypatch):
    (tmp_path / "share" / "vla_agent" / "policies" / "other").mkdir(parents=True)
    monkeypatch.setattr(shipped, "SOURCE", tmp_path / "nothing")
    monkeypatch.setattr(shipped.sys, "prefix", str(tmp_path))
    monkeypatch.chdir(tmp_path / "share")
    assert find_shipped("policies/other") == tmp_path / "share" / "vla_agent" / "policies" / "other"


def test_other_names_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("owner/name", "/policies/tabletop-nano", "docs/tasks.md", ""):
        assert str(find_shipped(name)) in (name, ".")


def test_a_shipped_name_that_is_missing_is_not_taken_for_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="tabletop-nano") as caught:
        find_folder("policies/tabletop-nanoo")
    assert "no such policy folder" in str(caught.value)
