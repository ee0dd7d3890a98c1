"""``vla-agent doctor``: check this machine, and say how to fix what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

EPILOG = """\
example:
  vla-agent doctor
  vla-agent doctor --json | python -m json.tool

`fail` means that evaluation or training cannot run here, `warn` that an optional part is missing.
next: vla-agent eval policies/tabletop-nano --episodes 2
exit codes: 0 all required parts work, 1 it does not
"""
GL_TIMEOUT = 120  # seconds; a software renderer's first frame takes about two
SHIPPED_POLICY = "policies/tabletop-nano"
LEAST_DISK = 2.0  # GB: a run's report, videos and checkpoints


@dataclass(frozen=True)
class Check:
    """One line of the table: ``status`` is ok, warn (optional part missing) or fail (required part missing)."""

    name: str
    status: str
    detail: str
    remedy: str = ""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="check this machine",
        description="Check Python, OpenGL (renders one scene), MuJoCo, torch, ROS 2, the video encoder, disk space\n"
        "and the shipped policy.  Every line that is not ok says how to fix it.",
        epilog=EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    checks = [_guard(check) for check in CHECKS]
    healthy = all(check.status != "fail" for check in checks)
    if args.json:
        print(json.dumps({"healthy": healthy, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        _print_table(checks, healthy)
    return 0 if healthy else 1


def check_python() -> Check:
    return Check("python", "ok", f"{platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}")


def check_mujoco() -> Check:
    version = _version("mujoco")
    if version is None:
        return Check("mujoco", "fail", "not installed", "pip install 'mujoco>=3.3,<4'")
    if not version.startswith("3."):
        return Check("mujoco", "warn", version, "pip install 'mujoco>=3.3,<4': results differ between MuJoCo versions")
    return Check("mujoco", "ok", version)


def check_gl() -> Check:
    backend = os.environ.get("MUJOCO_GL", "egl")
    remedy = (
        "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri, then MUJOCO_GL=egl; "
        "without a GPU, Mesa renders in software; MUJOCO_GL=osmesa also works (libosmesa6)"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vla_agent.cli.machine.render_probe"],
            capture_output=True,
            text=True,
            timeout=GL_TIMEOUT,
            env=os.environ,
        )
    except subprocess.TimeoutExpired:
        return Check("opengl", "fail", f"{backend}: no frame within {GL_TIMEOUT} s", remedy)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Check("opengl", "fail", f"{backend}: {reason[:200]}", remedy)
    frame = json.loads(done.stdout.strip().splitlines()[-1])
    if frame["spread"] < 1.0:
        return Check("opengl", "fail", f"{backend}: the image is blank", remedy)
    rate = 1.0 / frame["each"]
    detail = (
        f"{backend}: {frame['what']}, {frame['views']} view(s), first frame {frame['first']:.1f} s, then {rate:.0f}/s"
    )
    if rate < 30:
        return Check(
            "opengl", "warn", detail, "slow: set LP_NUM_THREADS=0 and check that no other program uses the CPU"
        )
    return Check("opengl", "ok", detail)


def check_torch() -> Check:
    try:
        import torch
    except Exception as error:  # a broken torch raises anything from ImportError to OSError
        return Check("torch", "fail", f"{type(error).__name__}: {error}", "make install, or pip install torch")
    detail = f"{torch.__version__}, {torch.get_num_threads()} thread(s)"
    if torch.cuda.is_available():
        return Check("torch", "ok", f"{detail}, {torch.cuda.get_device_name(0)}")
    return Check("torch", "ok", f"{detail}, no GPU (the shipped policy needs none)")


def check_models() -> Check:
    found = {name: _version(name) for name in ("transformers", "diffusers", "peft", "safetensors")}
    missing = [name for name, version in found.items() if version is None]
    detail = ", ".join(f"{name} {version or 'missing'}" for name, version in found.items())
    if missing:
        return Check("models", "fail", detail, f"pip install {' '.join(missing)}")
    return Check("models", "ok", detail)


def check_rclpy() -> Check:
    remedy = "only the robot nodes need it: source /opt/ros/DISTRO/setup.bash, or pip install 'vla_agent[ros-wheels]'"
    code = "import rclpy, os; print(os.environ.get('RMW_IMPLEMENTATION', 'default middleware'), rclpy.__file__)"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return Check("rclpy", "warn", "the import hangs", remedy)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Check("rclpy", "warn", reason[:200], remedy)
    version = _version("ros-rclpy") or _version("rclpy") or "version unknown"
    return Check("rclpy", "ok", f"{version}, {done.stdout.strip().splitlines()[-1].split(' /')[0]}")


def check_video() -> Check:
    remedy = "pip install --force-reinstall av: its wheels bring FFmpeg with libx264"
    try:
        import av
        import numpy as np

        start, stream_file = time.perf_counter(), io.BytesIO()
        image = np.zeros((96, 96, 3), np.uint8)
        image[:, 48:] = 200
        with av.open(stream_file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=20)
            stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
            for _ in range(5):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        size = len(stream_file.getvalue())
        stream_file.seek(0)
        with av.open(stream_file) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except Exception as error:
        return Check("video", "fail", f"{type(error).__name__}: {error}", remedy)
    off = int(np.abs(frames[-1].astype(int) - image).mean()) if frames else 255
    if len(frames) != 5 or off > 8:
        return Check("video", "fail", f"5 frames written, {len(frames)} read, mean error {off}", remedy)
    milliseconds = 1000 * (time.perf_counter() - start)
    return Check(
        "video",
        "ok",
        f"h264 through PyAV {av.__version__}: 5 frames encoded and decoded in {milliseconds:.0f} ms, {size} B",
    )


def check_disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    detail = f"{free:.1f} GB free in {Path.cwd()}"
    if free < LEAST_DISK:
        return Check("disk", "fail", detail, f"free {LEAST_DISK:.0f} GB, or run in another folder")
    return Check("disk", "ok", detail)


def check_policy() -> Check:
    from vla_agent.files.shipped import find_shipped

    folder = find_shipped(SHIPPED_POLICY)
    if not folder.is_dir():
        return Check("policy", "warn", f"{SHIPPED_POLICY} is not installed", "install the package again")
    try:
        from vla_agent.policy.loading import load_policy
    except ImportError as error:
        return Check("policy", "fail", str(error), "make install")
    from vla_agent.errors import VlaAgentError

    try:
        policy = load_policy(SHIPPED_POLICY)
    except VlaAgentError as error:
        return Check("policy", "fail", error.what, error.remedy or "install the package again")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    contract = policy.contract
    return Check(
        "policy",
        "ok",
        f"{folder}: {size:.0f} MB, cameras {', '.join(contract.camera_names)}, chunk {contract.chunk_length} "
        f"at {contract.control_hz:g} Hz",
    )


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_mujoco,
    check_gl,
    check_torch,
    check_models,
    check_video,
    check_rclpy,
    check_disk,
    check_policy,
)


def _guard(check: Callable[[], Check]) -> Check:
    """Run a check; an unexpected exception becomes a failed line of the table."""
    try:
        return check()
    except Exception as error:
        name = check.__name__.removeprefix("check_")
        return Check(name, "fail", f"{type(error).__name__}: {error}", "report this with the output of --json")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _print_table(checks: list[Check], healthy: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    table = Table(box=None, pad_edge=False)
    for column in ("check", "", "found"):
        table.add_column(column, overflow="fold")
    for check in checks:
        table.add_row(check.name, f"[{colours[check.status]}]{check.status}[/]", check.detail.replace("[", r"\["))
        if check.remedy:
            table.add_row("", "", "[dim]-> [/]" + check.remedy.replace("[", r"\["))
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    console.print("all required parts work" if healthy else "[red]a required part is missing[/]")
