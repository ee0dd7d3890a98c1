"""Builds the pip package and the ament_python package.  All metadata stands in setup.cfg; here are only the file lists.

The lists are made by walking, because the setuptools of ROS 2 Humble knows no ``**``.
"""

from pathlib import Path

from setuptools import setup

NAME = "vla_agent"
SKIPPED = {"__pycache__", ".ruff_cache"}


def package_files(package: str, *patterns: str) -> list[str]:
    """Files below ``package`` that match a pattern, relative to it."""
    root = Path(package)
    found = {path for pattern in patterns for path in root.rglob(pattern) if path.is_file()}
    return sorted(str(path.relative_to(root)) for path in found if not SKIPPED & set(path.parts))


def shared_files(folder: str) -> list[tuple[str, list[str]]]:
    """Files of ``folder`` for ``share/vla_agent/folder``, one entry a directory as data_files wants them.

    A policy's records (its evaluation, curves and old recipes) stay in the repository.
    """
    by_folder: dict[str, list[str]] = {}
    for path in sorted(Path(folder).rglob("*")):
        record = folder == "policies" and ("evaluation" in path.parts or path.suffix == ".png")
        if path.is_file() and not record and not SKIPPED & set(path.parts) and not path.name.startswith("."):
            by_folder.setdefault(f"share/{NAME}/{path.parent}", []).append(str(path))
    return sorted(by_folder.items())


setup(
    package_data={
        NAME: ["py.typed", *package_files(NAME, "*.html", "*.css", "*.js", "*.yaml", "*.txt", "*.json")],
        "sim": ["py.typed", *package_files("sim", "*.yaml", "assets/**/*")],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"lib/{NAME}", sorted(str(path) for path in Path("scripts").glob("*_node"))),
        *shared_files("launch"),
        *shared_files("config"),
        *shared_files("gates"),
        *shared_files("policies"),
    ],
)
