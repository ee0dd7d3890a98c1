"""Ways around a certificate, a robot's demands, the trusted keys and the revocation list; each must be refused.

`cases` yields (kind, name, route).  A route builds its own files, tries to get through `require_certificate` as a
robot's node would, and returns the refusal; where it gets through it raises `AssertionError`.  The same files without
the attack are accepted first, so that no route is refused for another reason.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.certificates.certificate_case import CertificateCase

KIND_DEMANDS, KIND_REVOCATION = 3, 5
ROOT = Path(__file__).parents[2]
ZERO = "0" * 64
ANY: dict[str, Any] = {}
Attack = Callable[["CertificateCase"], Any]  # changes the files, and may ask; returns what differs in the question
Route = Callable[[], str]


def cases() -> Iterator[tuple[int, str, Route]]:
    """Every route: kind (of the list in docs/gate.md), name, and what tries it."""
    for kind, attacks in ((KIND_DEMANDS, {**_weak(), **_other(), **_times()}), (KIND_REVOCATION, _revocations())):
        for name, (attack, key) in attacks.items():
            yield kind, name, _route(attack, key)


def _route(attack: Attack, key: str) -> Route:
    def tried() -> str:
        from benchmarks.certificates.certificate_case import make
        from vla_agent.errors import VlaAgentError

        with tempfile.TemporaryDirectory() as folder:
            case = make(Path(folder) / "case")
            assert case.require() is not None, "what is certified was refused"
            try:
                question = attack(case) or {}
                case.require(**question)
            except VlaAgentError as error:
                assert error.key is not None and key in error.key or key in error.what, (
                    f"refused for another reason: {error}"
                )
                return f"{error.what}: {error.key or error.file}"
        raise AssertionError("it went through")

    return tried


def _signed(**changed: Any) -> Attack:
    """The lab itself certifies something else."""
    return lambda case: {"certificate": case.signed(**changed)}


def _gate_file(text: str, threshold: float) -> Attack:
    """A gate file of two episodes with low thresholds, certified by the lab's own key."""

    def attack(case: CertificateCase) -> dict[str, Any]:
        from vla_agent.files.hashing import hash_file

        file = case.root / "weak.yaml"
        file.write_text(text)
        checks = {name: {"threshold": threshold, "margin": 0.6} for name in ("success", "probe.swap")}
        counts = {name: {"k": 2, "n": 2, "verdict": "pass"} for name in checks}
        return {"certificate": case.signed(gate__sha256=hash_file(file), gate__checks=checks, counts=counts)}

    return attack


def _demand(**changed: Any) -> Attack:
    """Demands that are written by hand into the owner's file."""

    def attack(case: CertificateCase) -> None:
        from benchmarks.certificates.certificate_case import demands

        text = json.dumps(demands(**changed))
        (case.keys / "demands" / "panda.yaml").write_text(text)

    return attack


def _weak() -> dict[str, tuple[Attack, str]]:
    """Gates that show too little, and demands that ask for too little."""
    smoke = (ROOT / "gates" / "smoke.yaml").read_text(encoding="utf-8")
    success = "gate__checks__success__threshold"
    low = {"success": 0.05, "probe.swap": 0.02}
    return {
        "gates/smoke.yaml for a robot that demands gates/tabletop.yaml": (_gate_file(smoke, 0.05), "gate.sha256"),
        "a threshold of 1e-9 in another gate file": (_gate_file(smoke.replace("0.05", "1e-9"), 1e-9), "gate.sha256"),
        "a threshold of 1e-9 under the allowed gate's hash": (_signed(**{success: 1e-9}), "checks.success"),
        "a task file that was made easier": (_signed(gate__tasks__stack=ZERO), "gate.tasks.stack"),
        "success reported, not judged": (
            _signed(**{success: None, "counts__success__verdict": "reported"}), "checks.success"),
        "an instruction that need not be followed": (
            _signed(**{"gate__checks__probe.swap__threshold": 0.02}), "checks.probe.swap"),
        "a family that was left out": (_without("family.stack"), "checks.family.stack"),
        "an error rate of 40 %": (_signed(gate__alpha=0.4), "alpha"),
        "an attempt that spends 40 %": (_signed(attempt__alpha=0.4), "attempt.alpha"),
        "a power of 1 %": (_signed(gate__beta=0.99), "beta"),
        "a failed check under the verdict pass": (_signed(counts__success__verdict="fail"), "damaged"),
        "a failed gate": (_signed(verdict="fail"), "verdict"),
        "an undecided gate": (_signed(verdict="undecided"), "verdict"),
        "demands of 5 % success": (_demand(checks=low), "checks.success"),
        "demands without success": (_demand(checks={"probe.swap": 0.5}), "too weak"),
        "demands without checks": (_demand(checks={}), "too weak"),
        "demands of an error rate of 40 %": (_demand(alpha=0.4), "alpha"),
        "demands of any gate": (_demand(gates={}), "gates"),
        "demands of another robot": (_demand(robot="ur5"), "robot"),
        "demands with a misspelled key": (_demand(validitydays=90), "validitydays"),
        "no demands": (lambda case: (case.keys / "demands" / "panda.yaml").unlink(), "demands"),
        "demands that everybody can write": (
            lambda case: (case.keys / "demands" / "panda.yaml").chmod(0o666), "permissions"),
        "a folder of demands that everybody can write": (
            lambda case: (case.keys / "demands").chmod(0o777), "permissions"),
        "demands behind a link": (_linked("demands/panda.yaml"), "kind"),
        "a folder of demands behind a link": (_linked("demands"), "kind"),
        "a robot's name with a path in it": (
            lambda case: {"robot": "../panda", "certificate": case.signed(robot__name="../panda")}, "robot"),
    }  # fmt: skip


def _without(check: str) -> Attack:
    def attack(case: CertificateCase) -> dict[str, Any]:
        gate = {name: c for name, c in case.payload["gate"]["checks"].items() if name != check}
        counts = {name: c for name, c in case.payload["counts"].items() if name != check}
        return {"certificate": case.signed(gate__checks=gate, counts=counts)}

    return attack


def _linked(name: str) -> Attack:
    """A file or folder of the keys moved elsewhere, with a link in its place."""

    def attack(case: CertificateCase) -> None:
        place = case.keys / name
        place.rename(case.root / "elsewhere")
        place.symlink_to(case.root / "elsewhere")

    return attack


def _other() -> dict[str, tuple[Attack, str]]:
    """Another robot, simulator, key, machine, camera, execution, or policy."""
    return {
        "another robot file under the same name": (lambda case: {"robot_file": ZERO}, "robot_file"),
        "another robot file, certified": (
            lambda case: {"robot_file": ZERO, "certificate": case.signed(robot__file=ZERO)}, "robot.file"),
        "a certificate without a robot file": (_signed(robot__file=""), "robot.file"),
        "a certificate for another robot": (_signed(robot__name="sim"), "robot"),
        "a node that does not say its robot file": (lambda case: {"robot_file": None}, "robot_file"),
        "a node that does not say its latency": (lambda case: {"latency_ms": None}, "latency_ms"),
        "a latency that is no number": (lambda case: {"latency_ms": float("nan")}, "latency"),
        "a certified latency of ten seconds": (_signed(latency__certified_ms=10_000.0), "latency"),
        "a simulator that was made easier": (_signed(simulator={"sim/rollout.py": ZERO}), "simulator"),
        "a simulator without files": (_signed(simulator={}), "simulator"),
        "other code on the robot than in the simulator": (_other_code, "simulator.vla_agent/contract"),
        "a trusted key that the robot does not allow": (_key_not_allowed, "key"),
        "a key that nobody trusts": (_stranger, "keyid"),
        "a key in trusted/ behind a link": (_linked_key, "kind"),
        "a folder of keys that everybody can write": (lambda case: case.keys.chmod(0o777), "permissions"),
        "a folder above the keys that its group can write": (lambda case: case.root.chmod(0o770), "permissions"),
        "a public key that everybody can write": (lambda case: (case.keys / "lab.pub").chmod(0o666), "permissions"),
        **({"a public key of another user": (_foreign_key, "owner")} if os.geteuid() == 0 else {}),  # root can try
        "another execution mode, certified": (
            lambda case: {"execution": "ensemble", "certificate": case.signed(execution="ensemble")}, "execution"),
        "a scripted policy": (
            lambda case: {"certificate": case.signed(policy__files={}, policy__digest=ZERO)}, "policy.files"),
        "weights that were loaded before they were changed back": (
            lambda case: {"files": case.payload["policy"]["files"] | {"head.safetensors": ZERO}}, "policy.files"),
        "an adapter that was loaded, too": (
            lambda case: {"files": case.payload["policy"]["files"] | {"adapter.safetensors": ZERO}}, "adapter"),
    }  # fmt: skip


def _other_code(case: CertificateCase) -> dict[str, Any]:
    """Demanded and certified, but this machine's contract, execution and kinematics are not those."""
    from benchmarks.certificates.certificate_case import demands
    from vla_agent.files.canonical_json import digest
    from vla_agent.gate.certificate.demands import write_demands

    other = case.payload["simulator"] | {"vla_agent/contract/contract.py": ZERO}
    write_demands(demands(simulators=[digest(other)]), case.keys)
    return {"certificate": case.signed(simulator=other)}


def _key_not_allowed(case: CertificateCase) -> dict[str, Any]:
    from benchmarks.certificates.certificate_case import demands
    from vla_agent.gate.certificate import keys
    from vla_agent.gate.certificate.demands import write_demands

    write_demands(demands(keys=list(keys.trusted(case.keys))), case.keys)
    keys.create("second", case.keys)
    return {"certificate": case.signed("second")}


def _stranger(case: CertificateCase) -> dict[str, Any]:
    from vla_agent.gate.certificate import keys
    from vla_agent.gate.certificate.certificate import sign, write_certificate

    keys.create("stranger", case.root / "other")
    private = keys.load_private("stranger", case.root / "other")
    write_certificate(case.root / "strange.json", sign(case.payload, private))
    return {"certificate": case.root / "strange.json"}


def _linked_key(case: CertificateCase) -> dict[str, Any]:
    question = _stranger(case)
    (case.keys / "trusted").mkdir(mode=0o700)
    (case.keys / "trusted" / "stranger.pub").symlink_to(case.root / "other" / "stranger.pub")
    return question


def _foreign_key(case: CertificateCase) -> None:
    os.chown(case.keys / "lab.pub", 12345, -1)


def _times() -> dict[str, tuple[Attack, str]]:
    """Clocks and long validities."""

    def at(days: float, key: str) -> Attack:
        return lambda case: {"now": datetime.fromisoformat(case.payload[key]) + timedelta(days=days)}

    def for_ten_years(case: CertificateCase) -> dict[str, Any]:
        end = datetime.fromisoformat(case.payload["issued"]) + timedelta(days=3650)
        return {"certificate": case.signed(expires=end.isoformat())}

    def backdated(case: CertificateCase) -> dict[str, Any]:
        file = case.signed(issued="2020-01-01T00:00:00+00:00", expires="2020-02-01T00:00:00+00:00")
        return {"certificate": file, "now": datetime.fromisoformat("2020-01-15T00:00:00+00:00")}

    return {
        "a certificate for ten years": (for_ten_years, "validity"),
        "a certificate that has expired": (at(0, "expires"), "expires"),
        "a certificate that is not valid yet": (at(-0.001, "issued"), "issued"),
        "a clock that was set back behind the revocation list": (backdated, "issued"),
        "times without their offset": (
            _signed(issued="2026-01-01T00:00:00", expires="2027-01-01T00:00:00"), "damaged"),
    }  # fmt: skip


def _revocations() -> dict[str, tuple[Attack, str]]:
    """Revocations that revoke nothing, and lists that are missing, old, cut or forged."""
    return {
        **{f"revoked by {name}": (_command(make), "was revoked") for name, make in _CLEAR.items()},
        **{f"revoked by {name}": (_command(make), "nothing was") for name, make in _UNCLEAR.items()},
        "no list": (_removed("revoked.json"), "no revocation list"),
        "no record of the newest list": (_removed("revoked.seen.json"), "saw last"),
        "an empty list": (_overwritten(b""), "damaged"),
        "a list of the older release, unsigned": (_older_list, "older release"),
        "an unsigned list": (_overwritten(b'{"counter": 9, "format": 1, "revoked": {}}\n'), ""),
        "the list from before the revocation": (_rolled_back, "counter"),
        "a newer list without the entry, signed by the lab": (_forgotten, "revoked"),
        "a newer list, signed by the revoked key": (_by_revoked_key, "revoked key"),
        "a list signed by a stranger": (_strange_list, "keyid"),
        "a list that everybody can write": (lambda case: (case.keys / "revoked.json").chmod(0o666), "permissions"),
        "a list behind a link": (_linked("revoked.json"), "kind"),
        "a list cut in its middle": (_cut, "damaged"),
    }


# how the same certificate may be named by whoever revokes it: so that it is revoked, or so that the command refuses
_CLEAR: dict[str, Callable[[CertificateCase], str]] = {
    "its file": lambda case: str(case.certificate),
    "its id in capitals": lambda case: case.payload["id"].upper(),
    "its id as a UUID": lambda case: "-".join(
        case.payload["id"][a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
    ),
    "its policy's folder": lambda case: str(case.policy),
    "its policy's digest with its algorithm": lambda case: f"sha256:{case.payload['policy']['digest']}",
    "a file of its policy": lambda case: case.payload["policy"]["files"]["head.safetensors"],
    "its gate file's hash": lambda case: case.payload["gate"]["sha256"],
    "its key's name": lambda case: "lab",
    "its key's file": lambda case: str(case.keys / "lab.pub"),
    "the beginning of its key's fingerprint": lambda case: _lab(case)[:10],
    "a prefix of its id": lambda case: case.payload["id"][:12],
}
_UNCLEAR: dict[str, Callable[[CertificateCase], str]] = {
    "its id with a typing error": lambda case: _mistyped(case),
    "a word": lambda case: "the old one",
    "nothing": lambda case: "",
    "its policy's folder, changed since": lambda case: _changed_folder(case),
    "a certificate that a stranger signed": lambda case: str(_stranger(case)["certificate"]),
}


def _command(written: Callable[[CertificateCase], str]) -> Attack:
    """`vla-agent keys revoke`: either what is meant is revoked afterwards, or the command itself refuses."""

    def attack(case: CertificateCase) -> None:
        from vla_agent.gate.certificate import keys
        from vla_agent.gate.certificate.revocable import resolve

        keys.create("second", case.keys)  # signs where the lab's own key is revoked
        entry = {"event": "finish", "certificate": case.payload["id"], "policy": case.payload["policy"]["digest"]}
        (case.keys / "ledger.jsonl").write_text(json.dumps(entry) + "\n")
        meant = resolve(written(case), case.keys)
        keys.revoke(meant.identity, "a benchmark", case.keys, "second")

    return attack


def _lab(case: CertificateCase) -> str:
    from vla_agent.gate.certificate import keys

    return next(f for f, key in keys.trusted(case.keys).items() if key.name == "lab")


def _mistyped(case: CertificateCase) -> str:
    name = case.payload["id"]
    return str(name[:-1] + ("0" if name[-1] != "0" else "1"))


def _changed_folder(case: CertificateCase) -> str:
    """A copy with another byte; the robot holds the one that was certified."""
    copy = case.root / "changed"
    shutil.copytree(case.policy, copy)
    file = copy / "policy.json"
    file.write_bytes(file.read_bytes() + b"\n")
    return str(copy)


def _removed(name: str) -> Attack:
    return lambda case: (case.keys / name).unlink()


def _overwritten(content: bytes) -> Attack:
    def attack(case: CertificateCase) -> None:
        (case.keys / "revoked.json").write_bytes(content)

    return attack


def _older_list(case: CertificateCase) -> None:
    (case.keys / "revoked.jsonl").write_text("")


def _cut(case: CertificateCase) -> None:
    content = (case.keys / "revoked.json").read_bytes()
    (case.keys / "revoked.json").write_bytes(content[: len(content) // 2])


def _rolled_back(case: CertificateCase) -> None:
    from vla_agent.gate.certificate import keys

    shutil.copy(case.keys / "revoked.json", case.root / "before.json")
    keys.revoke(case.payload["id"], "a benchmark", case.keys)
    shutil.copy(case.root / "before.json", case.keys / "revoked.json")


def _forgotten(case: CertificateCase) -> None:
    from vla_agent.gate.certificate import keys

    keys.revoke(case.payload["id"], "a benchmark", case.keys)
    _overwritten(_list(case, "lab", case.keys, 9))(case)


def _by_revoked_key(case: CertificateCase) -> None:
    from vla_agent.gate.certificate import keys

    keys.create("second", case.keys)
    keys.revoke(_lab(case), "a benchmark", case.keys, "second")
    _overwritten(_list(case, "lab", case.keys, 9))(case)


def _strange_list(case: CertificateCase) -> None:
    from vla_agent.gate.certificate import keys

    keys.create("stranger", case.root / "other")
    _overwritten(_list(case, "stranger", case.root / "other", 9))(case)


def _list(case: CertificateCase, key: str, folder: Path, counter: int) -> bytes:
    """An empty list that a key has signed."""
    from vla_agent.files.canonical_json import canonical, readable
    from vla_agent.gate.certificate import keys
    from vla_agent.gate.certificate.envelope import seal
    from vla_agent.gate.certificate.revocations import SORT

    data = {"counter": counter, "format": 1, "issued": case.payload["issued"], "revoked": {}}
    return readable(seal(SORT, canonical(data), keys.load_private(key, folder))).encode()
