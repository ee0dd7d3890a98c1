"""The signed statement of the real rate: valid beside its certificate alone, and every change is named."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from vla_agent.cli import main
from vla_agent.errors import CertificateError
from vla_agent.files.canonical_json import digest
from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.certificate import read_certificate, sign, write_certificate
from vla_agent.gate.real_rate.statement import read_statement
from vla_agent.gate.real_rate.verify import verify_statement

SHIPPED = Path(__file__).parents[2] / "policies/tabletop-nano/evaluation/gate/certificate.json"
FILES = {"policy.json": "a" * 64}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Keys, a certificate, simulated episodes and trials of one policy."""
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path / "keys"))
    keys.create("lab", tmp_path / "keys")
    certify(tmp_path / "gate", FILES)
    rows = [{"task": "stack", "instruction": "", "seed": k, "success": k % 3 > 0, "steps": 1, "failure": None,
             "control": "policy", "state_hash": "", "image_hash": ""} for k in range(40)]  # fmt: skip
    report = {"policy": "mine", "suite": "tabletop", "split": "seen", "versions": {}, "summary": {},
              "hashes": {"policy": FILES, "tasks": {}, "simulator": "s"}, "episodes": rows}  # fmt: skip
    (tmp_path / "simulated").mkdir()
    (tmp_path / "simulated/report.json").write_text(json.dumps(report))
    trials = [f"{digest(FILES)},stack,{k},{int(k % 3 > 0 and k != 4)}" for k in range(12)]
    (tmp_path / "trials.csv").write_text("\n".join(["policy,task,seed,success", *trials]) + "\n")
    return tmp_path


def certify(folder, files, days=1):
    """A certificate over these files, valid now."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    payload = dict(read_certificate(SHIPPED).payload)
    payload |= {
        "id": digest(files)[:32],
        "issued": now.isoformat(),
        "expires": (now + timedelta(days=days)).isoformat(),
        "policy": {"name": "mine", "files": files, "adapter": [], "normaliser": "", "digest": digest(files)},
    }
    folder.mkdir()
    write_certificate(folder / "certificate.json", sign(payload, keys.load_private("lab", keys.keys_folder())))


def make(study, *more):
    return main(["bridge", str(study / "trials.csv"), "--simulated", str(study / "simulated"), "--certificate",
                 str(study / "gate"), "--sign", "--key", "lab", *more])  # fmt: skip


def differences(study, certificate="gate"):
    found = verify_statement(study / "gate/real_rate/real_rate.json", study / certificate / "certificate.json")
    return [str(d) for d in found[1]]


def test_it_is_signed_beside_the_certificate_which_stays_as_it_is_and_can_be_verified(study, capsys):
    before = (study / "gate/certificate.json").read_bytes()
    assert make(study) == 0
    assert (study / "gate/certificate.json").read_bytes() == before
    assert differences(study) == []
    assert main(["bridge", "--verify", "--certificate", str(study / "gate")]) == 0
    assert "the statement is valid: real success" in capsys.readouterr().out
    assert make(study) == 2  # a statement is never overwritten


def test_changed_evidence_numbers_and_keys_are_named(study):
    assert make(study) == 0
    folder = study / "gate/real_rate"
    trials = (folder / "trials.csv").read_text()
    (folder / "trials.csv").write_text(trials.replace(",4,0", ",4,1"))
    assert any("evidence.trials.csv" in line for line in differences(study))
    (folder / "trials.csv").write_text(trials)
    assert differences(study) == []
    statement = read_statement(folder / "real_rate.json", read_certificate(study / "gate/certificate.json"))
    keys.revoke(statement.payload["id"], "a trial was entered wrongly", study / "keys", "lab")
    assert any("revoked" in line for line in differences(study))


def test_a_statement_with_another_rate_is_not_valid_even_if_it_is_signed(study):
    from vla_agent.gate.real_rate.statement import write_statement

    assert make(study) == 0
    file, certificate = study / "gate/real_rate/real_rate.json", read_certificate(study / "gate/certificate.json")
    payload = json.loads(json.dumps(read_statement(file, certificate).payload))
    payload["all"]["interval"][0] = payload["all"]["rate"]
    write_statement(file, payload, certificate, keys.load_private("lab", study / "keys"))
    assert any("rates.all.interval.0" in line for line in differences(study))


def test_it_does_not_pass_beside_another_certificate_nor_as_one(study):
    assert make(study) == 0
    certify(study / "other", {"policy.json": "b" * 64})
    with pytest.raises(CertificateError, match="damaged or was changed") as caught:
        differences(study, "other")
    assert caught.value.key.startswith("subject")
    with pytest.raises(CertificateError, match="predicateType"):
        read_certificate(study / "gate/real_rate/real_rate.json")


def test_it_does_not_pass_beside_a_later_certificate_of_the_same_policy(study):
    assert make(study) == 0
    certify(study / "again", FILES, days=2)
    assert any("certificate.sha256" in line for line in differences(study, "again"))


def test_trials_of_other_weights_or_of_nobody_knows_which_are_not_signed(study, capsys):
    text = (study / "trials.csv").read_text()
    (study / "trials.csv").write_text(text.replace(digest(FILES) + ",", "").replace("policy,", ""))
    assert make(study) == 2 and "column policy" in capsys.readouterr().err
    (study / "trials.csv").write_text(text)
    certify(study / "other", {"policy.json": "b" * 64})
    assert make(study, "--certificate", str(study / "other")) == 2
    assert "not of the certified policy" in capsys.readouterr().err
    assert not (study / "other/real_rate").exists()


def test_verify_names_the_statement_beside_the_certificate(study, capsys):
    from vla_agent.cli.judge.verify import _statement_beside

    certificate = study / "gate/certificate.json"
    assert _statement_beside(certificate) == 0 and not capsys.readouterr().out
    assert make(study) == 0
    capsys.readouterr()
    assert _statement_beside(certificate) == 0 and "is valid: real success" in capsys.readouterr().out
    (study / "gate/real_rate/simulated.json").write_text("{}")
    assert _statement_beside(certificate) == 1 and "does not touch the certificate" in capsys.readouterr().out
