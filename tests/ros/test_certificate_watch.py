"""What the safety node asks before motors may move, and again while they do; without ROS."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.certificates.certificate_case import LATENCY_MS, ROBOT_FILE, CertificateCase, demands, make
from vla_agent.files import policy_folder
from vla_agent.files.policy.closed_list import ADAPTER_FORMAT
from vla_agent.gate.certificate import enforce, keys
from vla_agent.gate.certificate.bound_files import policy_parts
from vla_agent.gate.certificate.demands import write_demands
from vla_agent.gate.certificate.enforce import Deployment
from vla_agent.ros.runtime import certificate_watch
from vla_agent.ros.runtime.certificate_watch import Background, CertificateWatch


@pytest.fixture
def case(tmp_path, monkeypatch) -> CertificateCase:
    made = make(tmp_path / "case")
    monkeypatch.setenv("VLA_AGENT_KEYS", str(made.keys))
    return made


class Timed:
    """Says how long an inference takes, and notes what it was asked."""

    def __init__(self, *milliseconds: float) -> None:
        self.milliseconds, self.asked = list(milliseconds), []

    def __call__(self, policy: str, enough: float, digest: str) -> float:
        self.asked.append((policy, enough, digest))
        return self.milliseconds.pop(0)


def watch(case: CertificateCase, certificate: Path | None = None, timed: Timed | None = None, **changed: object):
    deployment = replace(case.deployment, latency_ms=None, execution=None, files=None, **changed)
    file = str(certificate or case.certificate)
    return CertificateWatch(str(case.policy), file, deployment, timed or Timed(LATENCY_MS))


def test_what_is_certified_may_move_and_is_timed_once(case):
    timed = Timed(LATENCY_MS)
    found = watch(case, timed=timed)
    assert found.expired and "nothing was checked" in found.recheck()
    assert found.check() == found.check() == found.recheck() == ""
    assert timed.asked == [(str(case.policy), LATENCY_MS, case.payload["policy"]["digest"])]
    assert not found.expired


def test_a_policy_that_was_too_slow_is_timed_again(case):
    timed = Timed(LATENCY_MS + 0.1, LATENCY_MS)
    found = watch(case, timed=timed)
    assert found.check() == "not certified: this machine's inference is slower than certified: latency"
    assert found.expired and found.recheck() and found.check() == "" and len(timed.asked) == 2


def test_another_certified_policy_is_timed_anew(case):
    timed = Timed(1.0, 2.0)
    found = watch(case, timed=timed)
    assert not found.check()
    (case.policy / "policy.json").write_text((case.policy / "policy.json").read_text() + " ")
    case.certificate.write_bytes(_resigned(case).read_bytes())
    assert not found.check() and len(timed.asked) == 2 and timed.asked[0][2] != timed.asked[1][2]


def _resigned(case: CertificateCase) -> Path:
    from vla_agent.gate.certificate.bound_files import contract_parts, policy_contract, policy_parts

    policy = {"name": "policy", **policy_parts(case.policy)}
    return case.signed(policy=policy, contract=contract_parts(policy_contract(case.policy)))


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"robot": "ur5"}, "robot"),
        ({"robot_file": "0" * 64}, "robot_file"),
        ({"control_hz": 10.0}, "control_hz"),
        ({"cameras": ["front"]}, "cameras.wrist"),
    ],
)
def test_another_deployment_is_refused_and_not_timed(case, changed, key):
    timed = Timed()
    assert f": {key}" in watch(case, timed=timed, **changed).check() and not timed.asked


def test_no_certificate_is_refused(case):
    found = CertificateWatch(str(case.policy), "", replace(case.deployment, files=None), Timed())
    assert found.check() == "not certified: the policy has no certificate: certificate" and found.recheck()


def test_a_certificate_that_was_refused_is_not_kept(case):
    found = watch(case, timed=Timed(1.0))
    assert not found.check()
    (case.policy / "new.safetensors").write_bytes(b"x")
    assert found.check() and found.recheck() and found.expired


def _revoke(case: CertificateCase) -> None:
    keys.revoke(case.payload["id"], "a test", case.keys)


def _weaken(case: CertificateCase) -> None:
    write_demands(demands(latency_ms=LATENCY_MS - 1), case.keys)


def _rename_robot(case: CertificateCase) -> None:
    write_demands(demands(robot_file="d" * 64), case.keys)


def _touch(case: CertificateCase) -> None:
    os.utime(case.policy / "head.safetensors", ns=(1, 1))


def _replace(case: CertificateCase) -> None:
    file, other = case.policy / "head.safetensors", case.root / "other"
    other.write_bytes(file.read_bytes())
    found = file.stat()
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.rename(file)


CHANGES = {
    "revoked": (_revoke, "revoked: id"),
    "no list": (lambda case: (case.keys / "revoked.json").unlink(), "revo"),
    "no key": (lambda case: (case.keys / "lab.pub").unlink(), ": "),
    "no demands": (lambda case: (case.keys / "demands" / "panda.yaml").unlink(), "demands"),
    "stricter demands": (_weaken, "latency"),
    "another robot file is demanded": (_rename_robot, "robot"),
    "a file was written": (_touch, "written to: head.safetensors"),
    "a file was replaced": (_replace, "written to: head.safetensors"),
    "a file is gone": (lambda case: (case.policy / "policy.json").unlink(), "written to: policy.json"),
    "the folder is gone": (lambda case: case.policy.rename(case.root / "away"), "not certified"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_while_the_robot_moves_is_noticed(case, change):
    found = watch(case)
    assert found.check() == found.recheck() == ""
    make_change, word = CHANGES[change]
    make_change(case)
    assert found.recheck().startswith("not certified: ") and word in found.recheck(), found.recheck()


def test_the_demanded_robot_file_is_compared_with_the_one_that_runs(case):
    """Even where the certificate names the new one."""
    found = watch(case)
    assert not found.check()
    _rename_robot(case)
    case.certificate.write_bytes(case.signed(robot__file="d" * 64).read_bytes())
    assert found.recheck()
    assert watch(case).check().endswith(": robot_file") and watch(case, robot_file="d" * 64).check() == ""
    assert ROBOT_FILE != "d" * 64


def test_another_policy_than_the_certified_one_must_not_run(case):
    found = watch(case)
    assert not found.check()
    digest = case.payload["policy"]["digest"]
    assert found.recheck(digest) == found.recheck("") == ""
    assert "another policy: digest 000000000000" in found.recheck("0" * 64)


def test_a_certificate_expires_at_its_time(case):
    now = datetime.now(timezone.utc).replace(microsecond=0)
    past, soon = now - timedelta(hours=1), now + timedelta(hours=1)
    found = watch(case, case.signed(issued=past.isoformat(), expires=soon.isoformat()))
    assert not found.check() and not found.expired and not found.recheck()
    for when, expired in ((soon - timedelta(seconds=1), False), (soon, True)):
        assert found.expired_at(when) is expired
    late = watch(case, case.signed(issued=past.isoformat(), expires=now.isoformat()))
    assert "expired" in late.check() and late.expired


def test_a_check_in_the_background_runs_once_at_a_time_and_gives_its_result_once():
    background, go, ran = Background(), threading.Event(), []

    def check() -> str:
        go.wait(10.0)
        ran.append(threading.current_thread())
        return "revoked"

    assert background.result() is None and background.result(0.01) is None
    background.start(check)
    background.start(check)
    assert background.result() is None and not ran
    go.set()
    assert background.result(10.0) == "revoked" and background.result() is None
    assert len(ran) == 1 and ran[0] is not threading.current_thread()
    background.start(check)
    assert background.result(10.0) == "revoked" and len(ran) == 2
    background.close()


def test_a_check_that_waits_is_overdue_and_nobody_waits_for_it_at_the_end(monkeypatch):
    monkeypatch.setattr(certificate_watch, "PATIENCE", 0.05)
    background, go = Background(), threading.Event()
    background.start(lambda: str(go.wait(10.0)))
    assert not background.overdue
    time.sleep(0.06)
    assert background.overdue
    began = time.monotonic()
    background.close()
    assert time.monotonic() - began < 1.0
    go.set()
    assert background.result(10.0) == "True" and not background.overdue


def test_while_the_robot_moves_no_check_waits_for_a_writer(case, monkeypatch):
    found = watch(case)
    assert not found.check()
    monkeypatch.setattr(policy_folder, "recover", lambda _: pytest.fail("it waits where another process writes"))
    assert not found.recheck()


@pytest.mark.parametrize("when", ["check", "recheck"])
def test_a_file_that_vanishes_meanwhile_refuses(case, monkeypatch, when):
    found = watch(case, timed=Timed(1.0, 1.0))
    assert not found.check()
    monkeypatch.setattr(certificate_watch, "trusted", _gone)
    monkeypatch.setattr(enforce, "trusted", _gone)
    assert getattr(found, when)() == "not certified: a file cannot be read: lab.pub"


def _gone(_folder: Path) -> dict:
    raise FileNotFoundError(2, "No such file or directory", "lab.pub")


def test_a_write_to_an_adapter_s_base_is_noticed(case, tmp_path):
    """Its files are certified as base/NAME, and lie where the adapter says."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    base = {"name": str(case.policy), "beside": "nowhere", "sha256": case.payload["policy"]["digest"]}
    (adapter / "adapter.json").write_text(json.dumps({"format": ADAPTER_FORMAT, "base": base}))
    (adapter / "adapter.safetensors").write_bytes(b"a")
    files = policy_parts(adapter)["files"]
    certificate = SimpleNamespace(payload={"policy": {"files": files}})
    found = CertificateWatch(str(adapter), "", Deployment("panda", True))
    found._folders = found._find_folders(certificate)
    states = found._states_of(certificate)
    os.utime(case.policy / "policy.json", ns=(1, 1))
    changed = found._states_of(certificate)
    assert [n for n in files if states[n] != changed[n]] == ["base/policy.json"] and None not in states.values()


def test_a_write_to_a_blob_behind_a_link_is_noticed(tmp_path):
    blob, link = tmp_path / "blob", tmp_path / "head.safetensors"
    blob.write_bytes(b"good")
    link.symlink_to(blob)
    before = certificate_watch._state(link)
    os.utime(blob, ns=(1, 1))
    assert None is not before != certificate_watch._state(link)
    blob.unlink()
    assert certificate_watch._state(link) is None


def test_a_certified_file_that_was_never_there_refuses(case):
    found = watch(case)
    assert not found.check()
    (case.policy / "head.safetensors").unlink()
    found._states["head.safetensors"] = None
    assert found.recheck().endswith("written to: head.safetensors")
