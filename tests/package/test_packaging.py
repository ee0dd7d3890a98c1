"""The package as pip and colcon see it."""

from __future__ import annotations

import configparser
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

import pytest
import setuptools

import vla_agent

ROOT = Path(__file__).parents[2]
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot()


def text(tag: str) -> str:
    found = PACKAGE.find(tag)
    assert found is not None and found.text, f"package.xml lacks <{tag}>"
    return found.text.strip()


@pytest.fixture(scope="module")
def setup_arguments() -> dict:
    """What setup.py gives to setup()."""
    captured: dict = {}
    original, setuptools.setup = setuptools.setup, lambda **given: captured.update(given)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            runpy.run_path(str(ROOT / "setup.py"))
    finally:
        setuptools.setup = original
    return captured


def test_package_xml_is_what_colcon_takes_for_ament_python():
    assert PACKAGE.tag == "package" and PACKAGE.get("format") == "3"
    assert re.fullmatch(r"[a-z][a-z0-9_]*", text("name"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", text("version"))
    assert text("license") == "Apache-2.0"
    assert text("export/build_type") == "ament_python"
    maintainer = PACKAGE.find("maintainer")
    assert maintainer is not None and re.fullmatch(r"[\w.+-]+@([\w-]+\.)+[a-z]{2,}", maintainer.get("email", ""))
    depends = {element.text for element in PACKAGE.iter("exec_depend")}
    assert {"rclpy", "sensor_msgs", "std_srvs", "trajectory_msgs"} <= depends


def test_version_numbers_agree():
    assert text("version") == vla_agent.__version__ == metadata.version("vla_agent")
    assert f"{vla_agent.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_metadata_is_readable_by_old_setuptools():
    setup_cfg = configparser.ConfigParser()
    setup_cfg.read(ROOT / "setup.cfg")
    assert setup_cfg["metadata"]["name"] == text("name") == "vla_agent"
    assert "[project]" not in (ROOT / "pyproject.toml").read_text()
    assert "python_requires" not in setup_cfg["options"], "colcon cannot read a package that states it"


def test_ros_wheels_and_torchvision_are_not_required():
    required = [name.split(";")[0] for name in metadata.requires("vla_agent") or [] if "extra ==" not in name]
    assert any(name.startswith("torch") for name in required)
    assert not [name for name in required if name.startswith(("ros-", "rclpy", "torchvision"))]
    extras = metadata.metadata("vla_agent").get_all("Provides-Extra") or []
    assert {"ros-wheels", "benchmarks", "trackers", "dev", "test"} <= set(extras)


def test_constraints_pin_every_core_requirement():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    for requirement in metadata.requires("vla_agent") or []:
        if 'extra == "trackers"' in requirement:
            continue
        name = re.match(r"[\w.-]+", requirement)
        assert name and re.sub(r"[-_.]+", "-", name.group()).lower() in names, f"{requirement} is not pinned"


def test_data_files_put_the_package_into_the_ament_index(setup_arguments):
    files = dict(setup_arguments["data_files"])
    assert files["share/ament_index/resource_index/packages"] == ["resource/vla_agent"]
    assert files["share/vla_agent"] == ["package.xml"]
    listed = {path for paths in files.values() for path in paths}
    for folder in ("launch", "config"):
        present = {
            str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in str(p)
        }
        assert present <= listed
    assert all((ROOT / path).is_file() for path in listed)


def test_package_data_holds_tasks_models_and_templates(setup_arguments):
    data = setup_arguments["package_data"]
    for package in ("vla_agent", "sim"):
        assert (ROOT / package / "__init__.py").is_file()
        assert all((ROOT / package / path).is_file() for path in data[package])
        wanted = {"sim": ("tasks/*.yaml", "assets/**/*"), "vla_agent": ("**/*.html",)}[package]
        present = {str(p.relative_to(ROOT / package)) for w in wanted for p in (ROOT / package).glob(w) if p.is_file()}
        assert {p for p in present if "__pycache__" not in p} <= set(data[package])


def test_every_folder_with_python_files_is_a_package():
    for package in ("vla_agent", "sim"):
        for path in (ROOT / package).rglob("*.py"):
            if "assets" in path.parts:  # package data, not a package
                continue
            assert (path.parent / "__init__.py").is_file(), f"{path.parent} would be left out of the wheel"


def test_make_help_lists_the_targets():
    listing = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "train", "collect", "bench", "lint", "clean"):
        assert re.search(rf"^{target}\s", listing, re.MULTILINE)


def test_simulator_imports_no_torch():
    code = "import sys, sim.env, sim.rollout, sim.policies, sim.experts.expert; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_documents_link_to_files_that_exist():
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_commands_in_the_readme_parse():
    """Every `vla-agent ...` of the README's table is accepted by the command's own parser."""
    import shlex

    from vla_agent import cli

    lines = re.findall(r"^\| `(vla-agent [^`]+)`", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {shlex.split(line)[1] for line in lines} == set(cli.COMMANDS)
    for line in lines:
        assert cli.parse(shlex.split(line)[1:]).command == shlex.split(line)[1]
