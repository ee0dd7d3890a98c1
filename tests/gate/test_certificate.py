"""Certificates: an envelope that standard tools verify, of one form alone, and current."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from benchmarks.certificates.certificate_case import changed_parts, make
from vla_agent.cli import main
from vla_agent.errors import CertificateError
from vla_agent.files.canonical_json import canonical, digest, readable
from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.certificate import (
    CERTIFICATE,
    read_certificate,
    require_current,
    require_signed,
    sign,
    write_certificate,
)
from vla_agent.gate.certificate.envelope import seal
from vla_agent.gate.certificate.explanation import explain
from vla_agent.gate.certificate.statement import statement_of

ZERO = "0" * 64


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make(tmp_path_factory.mktemp("certificate") / "case")


@pytest.fixture
def refused(case, tmp_path):
    """The refusal of an envelope, or of a file's bytes: signed or not, by `require_signed` at the latest."""

    def read(written: object) -> CertificateError:
        file = tmp_path / "certificate.json"
        file.write_bytes(written if isinstance(written, bytes) else readable(written).encode())
        with pytest.raises(CertificateError) as error:
            require_signed(read_certificate(file), keys.trusted(case.keys))
        assert error.value.file and error.value.remedy and error.value.expected and error.value.found is not None
        return error.value

    return read


@pytest.fixture
def lab(case):
    return keys.load_private("lab", case.keys)


def envelope_of(case) -> dict:
    return json.loads(case.certificate.read_text())


def test_what_was_signed_is_read(case):
    certificate = read_certificate(case.certificate)
    key = require_signed(certificate, keys.trusted(case.keys))
    assert key.name == "lab" and certificate.key == key.fingerprint
    assert certificate.id == certificate.payload["id"] == case.payload["id"]
    assert certificate.payload["gate"]["checks"]["success"] == {"threshold": 0.8, "margin": 0.1}
    assert certificate.payload["attempt"]["seed"] == 2**32 and certificate.payload["attempt"]["alpha"] == 0.025


def test_a_standard_tool_verifies_a_certificate_and_finds_the_files_in_it(case):
    """By securesystemslib, which shares no code with this project."""
    key = keys.trusted(case.keys)[read_certificate(case.certificate).key]
    envelope = Envelope.from_dict(envelope_of(case))
    envelope.verify([SSlibKey.from_crypto(key.public, keyid=key.fingerprint)], 1)
    assert envelope.payload_type == "application/vnd.in-toto+json"
    statement = json.loads(envelope.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1" and statement["predicateType"].startswith("https://")
    found = {s["name"]: s["digest"]["sha256"] for s in statement["subject"]}
    assert found == case.payload["policy"]["files"] and "head.safetensors" in found


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda e: e.pop("payload"), "payload"),
        (lambda e: e.update(extra=1), "extra"),
        (lambda e: e.update(payloadType="application/json"), "payloadType"),
        (lambda e: e.update(payloadType="application/vnd.vla-agent.revocations+json"), "payloadType"),
        (lambda e: e.update(signatures=[]), "signatures"),
        (lambda e: e.update(signatures={}), "signatures"),
        (lambda e: e["signatures"].append(e["signatures"][0]), "signatures"),
        (lambda e: e.update(signatures=["x"]), "signatures.0"),
        (lambda e: e["signatures"][0].pop("keyid"), "signatures.0"),
        (lambda e: e["signatures"][0].update(algorithm="none"), "signatures.0"),
        (lambda e: e["signatures"][0].update(sig=1), "sig"),
        (lambda e: e["signatures"][0].update(keyid=None), "keyid"),
        (lambda e: e.update(payload=[]), "payload"),
        (lambda e: e.update(payload="*" + e["payload"]), "payload"),
        (lambda e: e.update(payload=e["payload"] + "="), "payload"),
        (lambda e: e["signatures"][0].update(keyid="0" * 32), "signatures.0.keyid"),
        (lambda e: e["signatures"][0].update(sig=""), "signatures.0.sig"),
        (lambda e: e["signatures"][0].update(sig=base64.b64encode(bytes(64)).decode()), "signatures.0.sig"),
        (lambda e: e["signatures"][0].update(sig=e["signatures"][0]["sig"].rstrip("=")), "signatures.0.sig"),
        (lambda e: e["signatures"][0].update(sig=" " + e["signatures"][0]["sig"]), "signatures.0.sig"),
    ],
)
def test_an_envelope_has_one_form(case, refused, change, key):
    envelope = envelope_of(case)
    change(envelope)
    assert refused(envelope).key == key


def test_other_bits_of_the_last_base64_digit_are_another_form(case, refused):
    """Of both Base64 texts: decoders read several texts as the same bytes."""

    def other(text: str) -> str:
        body, digits = text.rstrip("="), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        changed = body[:-1] + digits[digits.index(body[-1]) ^ 1] + "=" * (len(text) - len(body))
        assert base64.b64decode(changed) == base64.b64decode(text)
        return changed

    envelope = envelope_of(case)
    envelope["signatures"][0]["sig"] = other(envelope["signatures"][0]["sig"])
    assert refused(envelope).key == "signatures.0.sig"
    lab = keys.load_private("lab", case.keys)
    content = canonical(statement_of(case.payload))
    odd = seal(CERTIFICATE, content + b" " * ((1 - len(content)) % 3), lab)  # one byte in the last three: spare bits
    assert refused(odd | {"payload": other(odd["payload"])}).key == "payload"


def test_every_bit_of_payload_and_signature_counts(case, refused):
    envelope = envelope_of(case)
    payload = bytearray(base64.b64decode(envelope["payload"]))
    for at in (0, len(payload) // 2, len(payload) - 1):
        payload[at] ^= 1
        refused(envelope | {"payload": base64.b64encode(payload).decode()})
        payload[at] ^= 1
    changed = changed_parts(case.payload, {"verdict": "fail"})
    other = {"payload": base64.b64encode(canonical(statement_of(changed))).decode()}
    assert refused(envelope | other).key == "signatures.0.sig"


PARTS = st.sampled_from(["payload", "payloadType", "signatures", "keyid", "sig", "application/vnd.in-toto+json"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | PARTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PARTS | st.text(), inner, max_size=4),
    max_leaves=6,
)


@settings(derandomize=True, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES, st.binary(max_size=40))
def test_no_foreign_file_is_a_certificate_or_anything_but_a_refusal(refused, data, content):
    refused(json.dumps(data).encode())
    refused(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "JSONDecodeError"),
        (b"\xff", "UnicodeDecodeError"),
        (b"[" * 100_000, "levels"),
        (b'{"payload": NaN}', "NaN"),
        (b'{"payload": 1, "payload": 2}', "twice"),
        (b"null", "NoneType"),
        (b"[]", "list"),
        (b" " * (4 * 2**20 + 1), "4,194,304 bytes"),
        (b" " * (4 * 2**20), "JSONDecodeError"),
    ],
)
def test_what_is_no_certificate_is_refused_with_the_reason(refused, content, says):
    assert says in str(refused(content))


def test_one_byte_more_is_another_file(case, refused):
    content = case.certificate.read_bytes()
    for changed in (content + b" ", b" " + content, content[:-1], json.dumps(json.loads(content)).encode()):
        assert refused(changed).key == "the file's bytes"


def test_older_formats_are_refused_with_the_reason(refused):
    for number in (1, 2):
        error = refused({"payload": {"format": number}, "signature": {"algorithm": "Ed25519", "key": "", "value": ""}})
        assert error.found == f"format {number}" and "gate again" in error.remedy
    assert "no DSSE envelope" in str(refused({"payload": 1, "signature": 2}).found)


def test_a_missing_certificate_and_a_folder_say_so(tmp_path):
    with pytest.raises(CertificateError, match="there is no certificate"):
        read_certificate(tmp_path / "none.json")
    with pytest.raises(CertificateError, match="IsADirectoryError"):
        read_certificate(tmp_path)


STATEMENTS = [
    (lambda s: s.pop("subject"), "statement"),
    (lambda s: s.update(more=1), "statement"),
    (lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"), "_type"),
    (lambda s: s.update(predicateType=s["predicateType"].replace("v3", "v2")), "predicateType"),
    (lambda s: s["subject"][0]["digest"].update(sha256=ZERO), "subject.0.digest.sha256"),
    (lambda s: s["subject"].pop(), "subject.1"),
    (lambda s: s["predicate"].pop("verdict"), "verdict"),
    (lambda s: s["predicate"].update(more=1), "more"),
]


@pytest.mark.parametrize(("change", "key"), STATEMENTS)
def test_a_statement_has_one_form(case, refused, lab, change, key):
    statement = json.loads(canonical(statement_of(case.payload)))
    change(statement)
    error = refused(seal(CERTIFICATE, canonical(statement), lab))
    assert error.key.startswith(key)


def test_signed_bytes_that_are_no_canonical_statement_are_refused(case, refused, lab):
    assert refused(seal(CERTIFICATE, b"[]", lab)).key == "statement"
    assert refused(seal(CERTIFICATE, json.dumps(statement_of(case.payload)).encode(), lab)).key == "payload"
    assert "twice" in str(refused(seal(CERTIFICATE, b'{"_type": 1, "_type": 2}', lab)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", 2),
        ("format", 4),
        ("format", True),
        ("id", "A" * 32),
        ("id", "a" * 31),
        ("issued", "2026-01-01T00:00:00"),
        ("issued", "yesterday"),
        ("expires", "2026-01-01T00:00:00+00:00"),
        ("robot", "panda"),
        ("robot__file", "x"),
        ("policy__digest", ZERO),
        ("policy__files", {"head.safetensors": "x"}),
        ("contract__control_hz", 0.0),
        ("contract__cameras", {"front": [1.5, 2]}),
        ("contract__cameras", {"front": [1]}),
        ("contract__cameras", {"front": [1, 2, 3]}),
        ("simulator", {"sim/a.py": "x"}),
        ("gate__alpha", 0.0),
        ("gate__alpha", 1.0),
        ("gate__alpha", "0.05"),
        ("gate__beta", 0.0),
        ("attempt__alpha", 0.0),
        ("gate__beta", 1.0),
        ("gate__checks__success__threshold", 0.0),
        ("gate__checks__success__threshold", 1.0),
        ("gate__checks__success__margin", 0.0),
        ("gate__checks", {}),
        ("attempt__number", 0),
        ("attempt__number", True),
        ("attempt__alpha", 1.0),
        ("attempt__seed", -1),
        ("latency__certified_ms", -1.0),
        ("latency__certified_ms", None),
        ("latency__measured_ms", -1.0),
        ("counts__success__verdict", "passed"),
        ("counts__success__verdict", "fail"),
        ("counts__success__verdict", "undecided"),
        ("counts__success__verdict", "reported"),
        ("counts__axis.typo.1__verdict", "pass"),
        ("counts__success__k", -1),
        ("estimate__rate", 1.1),
        ("estimate__rate", -0.1),
        ("estimate__interval", [-0.1, 0.5]),
        ("estimate__interval", [0.5]),
        ("estimate__interval", [0.5, 1.5]),
        ("verdict", "passed"),
        ("evidence", {"report.json": ""}),
    ],
)
def test_a_predicate_is_complete_and_consistent(case, refused, lab, path, value):
    error = refused(sign(changed_parts(case.payload, {path: value}), lab))
    assert error.what == "the certificate is damaged or was changed"


def test_counts_are_those_of_the_gate_s_checks(case, refused, lab):
    """One too many, and one too few, of those that are reported alone."""
    counts = case.payload["counts"]
    more = counts | {"more": counts["axis.typo.1"]}
    less = {name: count for name, count in counts.items() if name != "axis.typo.1"}
    for other in (more, less):
        assert "other checks" in refused(sign(changed_parts(case.payload, {"counts": other}), lab)).found


def test_exactly_the_checks_with_a_threshold_are_judged(case, refused, lab):
    for changed in ({"counts__success__verdict": "reported"}, {"counts__axis.typo.1__verdict": "fail"}):
        error = refused(sign(changed_parts(case.payload, changed | {"verdict": "fail"}), lab))
        assert "with a threshold are judged" in error.found


def test_an_error_about_a_foreign_file_is_short(case, refused, lab):
    error = refused(sign(changed_parts(case.payload, {f"more{k}": k for k in range(500)}), lab))
    assert len(error.key) == len(error.found) == 2000


def test_a_verdict_needs_a_judged_check(case, refused, lab):
    checks = {name: check | {"threshold": None} for name, check in case.payload["gate"]["checks"].items()}
    counts = {name: count | {"verdict": "reported"} for name, count in case.payload["counts"].items()}
    nothing = changed_parts(case.payload, {"gate__checks": checks, "counts": counts})
    assert "not every judged check passed" in refused(sign(nothing, lab)).found


def test_forms_just_inside_are_read(case, lab, tmp_path):
    """Failed gates, scripted policies, no hardware, no estimate."""
    good = [
        {"verdict": "fail", "counts__success__verdict": "fail"},
        {"verdict": "undecided"},
        {"robot__file": ""},
        {"policy__files": {}, "policy__digest": ZERO},
        {"estimate": {"rate": None, "interval": [0.0, 1.0], "worst_family": None}},
        {"counts__success__k": 0, "counts__success__n": 0, "attempt__seed": 0},
        {"latency__certified_ms": 0, "latency__measured_ms": 0.0},
        {"contract__control_hz": 0.1, "gate__alpha": 0.999, "gate__beta": 0.001, "attempt__alpha": 0.999},
        {"gate__checks__success": {"threshold": 0.001, "margin": 0.001}, "gate__alpha": 0.001},
        {"gate__checks__success": {"threshold": 0.999, "margin": 0.999}, "gate__beta": 0.999, "attempt__alpha": 0.001},
        {"estimate__rate": 0.0, "estimate__interval": [0.0, 1.0]},
        {"issued": "2026-01-01T00:00:00+01:00", "expires": "2026-01-01T00:00:01+01:00"},
    ]
    for changed in good:
        write_certificate(tmp_path / "good.json", sign(changed_parts(case.payload, changed), lab))
        read_certificate(tmp_path / "good.json")
    scripted = read_certificate(tmp_path / "good.json").payload
    assert scripted["issued"].endswith("+01:00")


def test_a_scripted_policy_is_a_subject_by_its_name(case):
    policy = {"name": "expert", "files": {}, "digest": ZERO}
    assert statement_of({"policy": policy})["subject"] == [{"name": "expert", "digest": {"sha256": ZERO}}]


def test_only_a_trusted_key_counts(case, tmp_path):
    keys.create("stranger", tmp_path / "other")
    private = keys.load_private("stranger", tmp_path / "other")
    write_certificate(tmp_path / "c.json", sign(case.payload, private))
    certificate = read_certificate(tmp_path / "c.json")
    with pytest.raises(CertificateError, match="not signed by a trusted key") as error:
        require_signed(certificate, keys.trusted(case.keys))
    assert "lab" in error.value.expected
    with pytest.raises(CertificateError, match="none is trusted here"):
        require_signed(certificate, {})
    stranger = keys.trusted(tmp_path / "other")
    assert require_signed(certificate, stranger).name == "stranger"
    envelope = json.loads((tmp_path / "c.json").read_text())
    envelope["signatures"][0]["keyid"] = read_certificate(case.certificate).key
    (tmp_path / "c.json").write_text(readable(envelope))
    with pytest.raises(CertificateError) as error:  # says that it is of the trusted key
        require_signed(read_certificate(tmp_path / "c.json"), keys.trusted(case.keys) | stranger)
    assert error.value.key == "signatures.0.sig"


def test_a_certificate_is_valid_from_its_first_to_its_last_moment(case):
    certificate = read_certificate(case.certificate)
    first, end = (datetime.fromisoformat(certificate.payload[k]) for k in ("issued", "expires"))
    moment = timedelta(microseconds=1)
    for now in (first, end - moment):
        require_current(certificate, {}, now)
    require_current(certificate, {})
    for now, key, says in ((first - moment, "issued", "not valid yet"), (end, "expires", "has expired")):
        with pytest.raises(CertificateError, match=says) as error:
            require_current(certificate, {}, now)
        assert error.value.key == key


def test_what_a_certificate_is_about_can_be_revoked(case):
    certificate = read_certificate(case.certificate)
    p = certificate.payload
    names = {
        "id": p["id"],
        "key": certificate.key,
        "policy": p["policy"]["digest"],
        "gate": p["gate"]["sha256"],
        "policy.files.head.safetensors": p["policy"]["files"]["head.safetensors"],
    }
    for key, name in names.items():
        with pytest.raises(CertificateError, match="was revoked") as error:
            require_current(certificate, {name: "a test"})
        assert error.value.key == key and "a test" in error.value.found
    require_current(certificate, {ZERO: "another"})


def test_a_revoked_base_revokes_the_adapters_on_it(case):
    """The base's digest is that of its own folder, whether or not the base was ever certified itself."""
    base = case.payload["policy"]["files"]
    files = {"adapter.json": "5" * 64} | {f"base/{name}": sha256 for name, sha256 in base.items()}
    policy = {"policy__files": files, "policy__adapter": ["adapter.json"], "policy__digest": digest(files)}
    adapter = read_certificate(case.signed(**policy))
    require_current(adapter, {ZERO: "another"})
    with pytest.raises(CertificateError, match="was revoked") as error:
        require_current(adapter, {case.payload["policy"]["digest"]: "a test"})
    assert error.value.key == "policy.base"


def test_ten_lines_explain_a_certificate(case, monkeypatch, capsys):
    monkeypatch.setenv("VLA_AGENT_KEYS", str(case.keys))
    assert main(["gate", "--explain", str(case.certificate)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    text = "\n".join(lines)
    for part in (
        "passed the gate tabletop",
        "90 % (95 % interval 80 % to 96 %)",
        "worst: stack, 9 of 10 (55 % to 99 %)",
        "error of at most 2.5 %",
        "success above 80 %",
        "each family above 50 %",
        "attempt 1",
        "seeds from 4294967296",
        "panda",
        "within 100 ms",
        "realtime",
        "signed by lab",
        "trusted here and not revoked",
        "axis.typo.1",
    ):
        assert part in text, part
    assert sum("does not promise" in line for line in lines) == 1


def test_the_explanation_says_what_is_missing(case, tmp_path):
    expired = datetime.fromisoformat(case.payload["expires"])
    assert "NOT TAKEN HERE: the certificate has expired" in explain(case.certificate, case.keys, expired)[6]
    assert "NOT TAKEN HERE" in explain(case.certificate, tmp_path)[6]
    nothing = {"rate": None, "interval": [0.0, 1.0], "worst_family": None}
    file = case.signed(robot__file="", verdict="fail", estimate=nothing)
    text = "\n".join(explain(file, case.keys))
    escapes = explain(case.signed(policy__name="\x1b[2J\npromises: all"), case.keys)
    assert len(escapes) == 10 and "\x1b" not in escapes[0] and "?[2J?promises" in escapes[0]
    assert (
        "did not pass" in text and "not all shown" in text and "moves no hardware" in text and "not estimated" in text
    )


def test_the_command_needs_a_policy_or_a_certificate(capsys):
    assert main(["gate"]) == 2
    assert "--explain" in capsys.readouterr().err
