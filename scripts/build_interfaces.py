"""Builds ROS 2 interface packages (.msg, .srv, .action) for the rclpy of the wheels, where no ROS 2 is installed.

    python scripts/build_interfaces.py vla_agent_interfaces                  into this environment
    python scripts/build_interfaces.py --prefix FOLDER PACKAGE [PACKAGE ...] into another folder
    python scripts/build_interfaces.py --cache FOLDER PACKAGE [PACKAGE ...]  in a subfolder named by a hash

A package is a folder with ``package.xml`` and ``msg/``, ``srv/`` or ``action/``; its ``<depend>`` entries are interface
packages of the wheels.  On a machine with ROS 2, build it with colcon instead.  The generators are those of the wheels
(``ros-rosidl-*``, which rclpy brings along); a C and a C++ compiler are needed, CMake is not.  The last line of the
output is the folder to put on PYTHONPATH.  Exit codes: 0 built or found, 2 wrong input, 3 no compiler or no wheels.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

KINDS = ("msg", "srv", "action")
WHEELS = Path(sys.prefix)
ALWAYS = ("builtin_interfaces", "service_msgs", "unique_identifier_msgs", "action_msgs")  # what .srv and .action need
FAST, NAMES = "rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c"  # serialisation, and type discovery
GENERATORS = ("rosidl_generator_c", "rosidl_typesupport_c", FAST, NAMES, "rosidl_generator_py")
LIBRARIES = (
    "rosidl_runtime_c",
    "rosidl_typesupport_c",
    "rosidl_typesupport_fastrtps_c",
    "rosidl_typesupport_fastrtps_cpp",
    "rmw",
    "rcutils",
    "fastcdr",
)
FORMAT = 1  # of what is built; part of the cache's hash
SITE = Path("lib") / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


class Refused(Exception):
    """A package that cannot be built, or a machine that cannot build: the text says why and what to do."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text, code)  # both, so that it comes back whole from another process
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="+", type=Path, metavar="PACKAGE", help="folder with package.xml")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--prefix", type=Path, help="where to install (default: this environment)")
    where.add_argument("--cache", type=Path, help="install into a subfolder named by a hash of the content, once")
    options = parser.parse_args(arguments)
    try:
        packages = [Package(folder) for folder in options.packages]
        if options.cache is not None:
            prefix = build_cached(packages, options.cache)
        else:
            prefix = options.prefix or WHEELS
            build(packages, prefix)
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    print(prefix.resolve() / SITE)
    return 0


class Package:
    """The sources of one interface package: ``name``, ``files`` (relative), ``depends``."""

    def __init__(self, folder: Path) -> None:
        manifest = folder / "package.xml"
        if not manifest.is_file():
            raise Refused(f"{folder} is no package: it has no package.xml")
        try:
            root = ElementTree.parse(manifest).getroot()
        except ElementTree.ParseError as error:
            raise Refused(f"{manifest} is no valid XML: {error}") from error
        self.folder = folder.resolve()
        self.manifest = manifest.resolve()
        self.name = (root.findtext("name") or "").strip()
        self.depends = sorted({(entry.text or "").strip() for entry in root.findall("depend")})
        self.files = sorted(path.relative_to(folder) for kind in KINDS for path in (folder / kind).glob(f"*.{kind}"))
        if not self.name.isidentifier():
            raise Refused(f"{manifest} has no valid <name>: found '{self.name}'")
        if not self.files:
            raise Refused(f"{folder} has no interface: expected msg/*.msg, srv/*.srv or action/*.action")

    def content(self) -> list[bytes]:
        """Everything that decides what is built."""
        return [
            self.manifest.read_bytes(),
            *(str(f).encode() + b"\0" + (self.folder / f).read_bytes() for f in self.files),
        ]


def build_cached(packages: Sequence[Package], cache: Path) -> Path:
    """The folder of this content's build, built first where it is not there; one builder at a time."""
    digest = hashlib.sha256(repr((FORMAT, sys.version, sys.prefix, wheel_versions())).encode())
    for package in packages:
        for part in package.content():
            digest.update(hashlib.sha256(part).digest())
    prefix = cache / digest.hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (prefix / "complete").exists():
            shutil.rmtree(prefix, ignore_errors=True)
            build(packages, prefix)
            (prefix / "complete").touch()
    return prefix


def wheel_versions() -> list[str]:
    """Names and versions of the installed ROS wheels: another version generates other code."""
    return sorted(path.name for path in (WHEELS / SITE).glob("ros_*.dist-info"))


def build(packages: Sequence[Package], prefix: Path) -> None:
    """Generate, compile and install all packages.

    Raises:
        Refused: no compiler, no wheels, an unknown dependency, a wrong interface file, a compiler's error.
    """
    check_machine(packages)
    with ProcessPoolExecutor(min(len(packages), os.cpu_count() or 1)) as pool:
        list(pool.map(build_one, packages, [prefix] * len(packages)))


def build_one(package: Package, prefix: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="interfaces-") as scratch:
        work = Path(scratch)
        with contextlib.redirect_stdout(io.StringIO()):  # the generators name each file
            generate(package, work)
        objects = {name: compile_part(package, work, name, files) for name, files in parts(package, work).items()}
        link(package, work, objects)
        install(package, work, prefix)


def check_machine(packages: Sequence[Package]) -> None:
    """Refuse where a compiler, Python's headers, the generators or a package's dependency are missing."""
    for variable, default in (("CC", "gcc"), ("CXX", "g++")):
        if shutil.which(os.environ.get(variable, default)) is None:
            raise Refused(
                f"there is no compiler '{os.environ.get(variable, default)}': interface packages cannot be built here. "
                f"Install one (apt-get install g++), or name it in {variable}",
                code=3,
            )
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise Refused("Python's headers are missing: apt-get install python3-dev", code=3)
    missing = [name for name in GENERATORS if not (WHEELS / "share" / name / "resource").is_dir()]
    if missing:
        raise Refused(f"{sys.prefix} has no {', '.join(missing)}: pip install 'vla_agent[ros-wheels]'", code=3)
    known = sorted(path.name for path in (WHEELS / "share/ament_index/resource_index/rosidl_interfaces").iterdir())
    for package in packages:
        unknown = sorted(set(package.depends) - set(known))
        if unknown:
            raise Refused(f"{package.name} depends on {', '.join(unknown)}; the wheels here have {', '.join(known)}")


def generate(package: Package, work: Path) -> None:
    """Write ``work/idl/NAME`` (definitions) and ``work/GENERATOR/NAME`` (C, C++ and Python)."""
    read_each_file_once()
    from rosidl_adapter import convert_to_idl
    from rosidl_cli.command.helpers import generate_visibility_control_file
    from rosidl_generator_c import generate_c
    from rosidl_generator_py import generate_py
    from rosidl_generator_type_description import generate_type_hash
    from rosidl_typesupport_c import generate_c as generate_typesupport_c
    from rosidl_typesupport_fastrtps_c import generate_typesupport_fastrtps_c
    from rosidl_typesupport_introspection_c import generate_c as generate_introspection

    idl = work / "idl" / package.name
    for file in package.files:
        try:
            convert_to_idl(package.folder, package.name, file, idl)
        except Exception as error:
            raise Refused(f"{package.folder / file} is no valid interface: {type(error).__name__}: {error}") from error
    definitions = [file.with_suffix(".idl") for file in package.files]
    common: dict[str, Any] = {
        "package_name": package.name,
        "idl_tuples": [f"{idl}:{definition}" for definition in definitions],
        "ros_interface_dependencies": [],
        "target_dependencies": [],
    }
    includes = [f"{name}:{WHEELS / 'share' / name}" for name in {*package.depends, *ALWAYS, *indirect(package.depends)}]
    hashes = generate_type_hash(arguments(work, common, output_dir=str(idl), template_dir="", include_paths=includes))
    described = {
        "type_description_tuples": [f"{Path(file).parent.name}/{Path(file).stem}.idl:{file}" for file in hashes],
        "ros_interface_files": [str(package.folder / file) for file in package.files],
    }
    for name, call in (
        ("rosidl_generator_c", generate_c),
        ("rosidl_typesupport_c", lambda file: generate_typesupport_c(file, [FAST, NAMES])),
        (FAST, generate_typesupport_fastrtps_c),
        (NAMES, generate_introspection),
        ("rosidl_generator_py", lambda file: generate_py(file, ["rosidl_typesupport_c"])),
    ):
        templates, code = WHEELS / "share" / name / "resource", work / name / package.name
        visibility = templates / f"{name}__visibility_control.h.in"
        if visibility.exists():
            generate_visibility_control_file(
                package_name=package.name,
                template_path=visibility,
                output_path=code / "msg" / visibility.name.removesuffix(".in"),
            )
        call(arguments(work, {**common, **described}, output_dir=str(code), template_dir=str(templates)))
    (work / "rosidl_generator_py" / package.name / "__init__.py").touch()


def read_each_file_once() -> None:
    """Every generator reads the same files, seven times in all, and the parser takes a quarter of the time.

    Its argument is a new object each time, so that the path is what is remembered.
    """
    import rosidl_parser.parser

    parse: Any = rosidl_parser.parser.parse_idl_file
    if hasattr(parse, "known"):
        return
    known: dict[Path, Any] = {}

    def parse_once(locator: Any, *options: Any) -> Any:
        path = Path(locator.get_absolute_path())
        if path not in known:
            known[path] = parse(locator, *options)
        return known[path]

    parse_once.known = known  # type: ignore[attr-defined]
    rosidl_parser.parser.parse_idl_file = parse_once


def arguments(work: Path, common: dict[str, Any], **others: Any) -> str:
    """A file with a generator's arguments."""
    file = work / "arguments.json"
    file.write_text(json.dumps({**common, **others}))
    return str(file)


def indirect(names: Iterable[str]) -> set[str]:
    """What the wheels' packages ``names`` depend on, themselves included."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        entry = WHEELS / "share/ament_index/resource_index/package_run_dependencies" / name
        if name not in found and (WHEELS / "share" / name / "msg").is_dir() and entry.exists():
            found.add(name)
            left += entry.read_text().split(";")
    return found


def parts(package: Package, work: Path) -> dict[str, list[Path]]:
    """What is compiled at once, by the name of its object file.

    The headers take most of the time, so that files are put together; descriptions share names, and cannot be.
    """
    entry = f"_{package.name}_s.ep.rosidl_typesupport_c.c"
    files = [path for name in GENERATORS for path in sorted((work / name).rglob("*.c*"))]
    described = {f"{path.parts[-3]}_{path.stem}": [path] for path in files if path.stem.endswith("__description")}
    together = [path for path in files if [path] not in described.values() and path.name != entry]
    return {
        "entry": [path for path in files if path.name == entry],
        "c": [path for path in together if path.suffix == ".c"],
        "cpp": [path for path in together if path.suffix == ".cpp"],
        **described,
    }


def compile_part(package: Package, work: Path, name: str, files: Sequence[Path]) -> Path:
    """One object file.  Without optimisation, since the code only copies fields."""
    import numpy

    whole = work / f"{name}{files[0].suffix}"
    whole.write_text("".join(f'#include "{file}"\n' for file in files))
    compiler = os.environ.get("CXX", "g++") if whole.suffix == ".cpp" else os.environ.get("CC", "gcc")
    include = WHEELS / "include"
    headers = sorted(path for path in include.iterdir() if path.is_dir() and not path.name.startswith("python"))
    generated = [work / name for name in GENERATORS]
    folders = [*generated, Path(sysconfig.get_path("include")), Path(numpy.get_include()), include, *headers]
    target = whole.with_suffix(".o")
    flags = [f"-I{folder}" for folder in folders]
    run([compiler, "-O0", "-fPIC", "-w", *flags, "-c", str(whole), "-o", str(target)], f"compile {package.name}")
    return target


def link(package: Package, work: Path, objects: dict[str, Path]) -> None:
    """The extension module beside the two libraries that ROS looks up by name; the first holds all code."""
    folder, libraries = work / "rosidl_generator_py" / package.name, WHEELS / "lib"
    kinds = ("rosidl_generator_c", "rosidl_generator_py", "rosidl_typesupport_c", FAST, NAMES)
    wanted = [f"-l{name}__{part}" for name in sorted({*package.depends, *ALWAYS}) for part in kinds]
    wanted += [f"-l{name}" for name in LIBRARIES]
    whole, names = (f"lib{package.name}__{part}.so" for part in (FAST, NAMES))
    module = f"{package.name}_s__rosidl_typesupport_c{sysconfig.get_config_var('EXT_SUFFIX')}"
    for target, inputs in (
        (whole, [*(str(item) for name, item in objects.items() if name != "entry"), *wanted]),
        (names, [whole]),
        (module, [str(objects["entry"]), whole, names, *wanted]),
    ):
        command = [os.environ.get("CXX", "g++"), "-shared", "-Wl,--no-as-needed", *inputs, f"-L{libraries}"]
        paths = [f"-Wl,-rpath,$ORIGIN:{libraries}", f"-Wl,-soname,{target}", "-o", target]
        run([*command, *paths], f"link {package.name}", folder)


def run(command: list[str], what: str, folder: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise Refused(f"cannot {what}: {' '.join(command[:1])} ended with {done.returncode}\n{done.stderr[-2000:]}")


def install(package: Package, work: Path, prefix: Path) -> None:
    """Python modules into site-packages, definitions into share/, and the entry in the ament index."""
    modules = prefix / SITE / package.name
    share = prefix / "share" / package.name
    for folder in (modules, share):
        shutil.rmtree(folder, ignore_errors=True)
    code = work / "rosidl_generator_py" / package.name
    for file in sorted(code.rglob("*")):
        if file.suffix in (".py", ".so"):
            target = modules / file.relative_to(code)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    shutil.copytree(work / "idl" / package.name, share)
    for file in package.files:
        shutil.copyfile(package.folder / file, share / file)
    shutil.copyfile(package.manifest, share / "package.xml")
    marker = prefix / "share/ament_index/resource_index/packages" / package.name
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


if __name__ == "__main__":
    sys.exit(main())
