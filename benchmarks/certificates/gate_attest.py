"""A certificate is verified by a library that shares no code with this project; tampered envelopes are refused."""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from benchmarks.certificates.certificate_case import CertificateCase

NAME = "gate-attest"
TITLE = "certificate verified by an independent library (securesystemslib); tampered envelopes refused, with the reason"
TARGET = 200.0
UNIT = "of 200"
BETTER = "higher"
SEED = 17
PAYLOAD_BITS, SIGNATURE_BITS, CUTS = 40, 24, 16  # of single bits flipped, and of truncations
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
Tampered = tuple[str, bytes, bool]  # family, the file's bytes, whether the library must refuse them, too


@dataclass(frozen=True)
class Forge:
    """What a forger has: a good envelope, keys, and one more certificate of the same key.

    Attributes:
        lab, other: private keys, both of them trusted.  stranger: one that is not.
        keyid: fingerprints by these names.
    """

    good: dict[str, Any]
    second: dict[str, Any]
    lab: Ed25519PrivateKey
    other: Ed25519PrivateKey
    stranger: Ed25519PrivateKey
    keyid: Mapping[str, str]

    @property
    def payload(self) -> bytes:
        return base64.b64decode(self.good["payload"])

    def envelope(self, payload: bytes | None = None, sig: bytes | str | None = None, **changed: Any) -> dict[str, Any]:
        """The good envelope with other parts; ``keyid`` goes into its signature."""
        made = json.loads(json.dumps(self.good))
        if payload is not None:
            made["payload"] = _base64(payload)
        if sig is not None:
            made["signatures"][0]["sig"] = _base64(sig) if isinstance(sig, bytes) else sig
        if "keyid" in changed:
            made["signatures"][0]["keyid"] = changed.pop("keyid")
        return made | changed


def run() -> dict[str, Any]:
    import tempfile
    from collections import Counter

    from benchmarks.certificates.certificate_case import make
    from vla_agent.evaluation.exact_tests import clopper_pearson

    tried: Counter[str] = Counter()
    here: Counter[str] = Counter()
    there: Counter[str] = Counter()
    duty: Counter[str] = Counter()
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        case = make(Path(folder) / "case")
        forge = _forge(case)
        before = _accepted(case)
        for number, (family, content, library) in enumerate(tampered(forge, random.Random(SEED))):
            tried[family] += 1
            duty[family] += library
            ours, theirs = _refused_here(case, content), _refused_by_library(case, content)
            here[family] += ours
            there[family] += theirs
            if not ours or (library and not theirs):
                missed.append(
                    f"{number} {family}: {'' if ours else 'accepted here'} {'' if theirs else 'by the library'}"
                )
        after = _accepted(case)
    total, caught = sum(tried.values()), sum(here.values())
    rows = [
        {
            "family": f,
            "tried": tried[f],
            "refused": here[f],
            "library_must_refuse": duty[f],
            "library_refused": there[f],
        }
        for f in tried
    ]
    return {
        "value": caught,
        "n": total,
        "interval": [TARGET * x for x in clopper_pearson(caught, total)],
        "seeds": str(SEED),
        "rows": rows,
        "passed": before and after and not missed and caught == total == TARGET,
        "notes": f"securesystemslib and this project accept the untouched envelope before ({before}), after ({after}). "
        "library_must_refuse: the signature does not cover what the file says; the others are valid signatures over a "
        f"form that is not read here, or another writing of the same bytes. Missed: {' | '.join(missed) or 'none'}",
    }


def _forge(case: CertificateCase) -> Forge:
    from vla_agent.gate.certificate import keys

    for name in ("other", "stranger"):
        keys.create(name, case.keys)
    private = {name: keys.load_private(name, case.keys) for name in ("lab", "other", "stranger")}
    for suffix in ("key", "pub"):
        (case.keys / f"stranger.{suffix}").unlink()
    keyid = {name: keys.fingerprint(key.public_key()) for name, key in private.items()}
    for length in range(3):  # one whose Base64 ends with "=": its last digit has bits that say nothing
        second = json.loads(case.signed(id="9" * 32, versions={"vla_agent": "0" * length}).read_text())
        if second["payload"].endswith("="):
            break
    good = json.loads(case.certificate.read_text())
    return Forge(good, second, private["lab"], private["other"], private["stranger"], keyid)


def _accepted(case: CertificateCase) -> bool:
    content = case.certificate.read_bytes()
    return not _refused_here(case, content) and not _refused_by_library(case, content)


def _refused_here(case: CertificateCase, content: bytes) -> bool:
    from vla_agent.errors import CertificateError

    file = case.root / "tampered.json"
    file.write_bytes(content)
    try:
        case.require(file)
    except CertificateError as error:
        return bool(error.what and error.expected and error.remedy)
    return False


def _refused_by_library(case: CertificateCase, content: bytes) -> bool:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Key, SSlibKey

    from vla_agent.gate.certificate import keys

    trusted: list[Key] = [SSlibKey.from_crypto(k.public, keyid=k.fingerprint) for k in keys.trusted(case.keys).values()]
    try:
        Envelope.from_dict(json.loads(content)).verify(trusted, 1)
    except Exception:  # the library raises its own errors and whatever its parsing meets
        return True
    return False


def tampered(forge: Forge, rng: random.Random) -> list[Tampered]:
    """`TARGET` different files; edited values of the statement fill up the number."""
    made = [
        *_bits(forge, rng),
        *_types(forge),
        *_encodings(forge),
        *_signatures(forge),
        *_signed_otherwise(forge),
        *_formats(forge),
        *_bytes_of_the_file(forge, rng),
    ]
    made += itertools.islice(_values(forge, rng), int(TARGET) - len(made))
    good = _written(forge.good)
    assert len({content for _, content, _ in made}) == len(made) == TARGET and good not in {c for _, c, _ in made}
    return made


def _bits(forge: Forge, rng: random.Random) -> Iterator[Tampered]:
    """One bit of the payload or of the signature."""
    sig = base64.b64decode(forge.good["signatures"][0]["sig"])
    for at in rng.sample(range(8 * len(forge.payload)), PAYLOAD_BITS):
        yield "bit of the payload", _written(forge.envelope(payload=_flipped(forge.payload, at))), True
    for at in rng.sample(range(8 * len(sig)), SIGNATURE_BITS):
        yield "bit of the signature", _written(forge.envelope(sig=_flipped(sig, at))), True


def _types(forge: Forge) -> Iterator[Tampered]:
    """Other payload types with the same signature."""
    kind = forge.good["payloadType"]
    others = [
        kind.upper(),
        kind + " ",
        kind + "; charset=utf-8",
        kind[:-1],
        "application/json",
        "",
        "text/plain",
        "in-toto",
    ]
    for other in [*others, "application/vnd.vla-agent.revocations+json", kind.replace("+", " ")]:
        yield "another type", _written(forge.envelope(payloadType=other)), True
    for none in (None, 1, [kind]):
        yield "another type", _written(forge.envelope(payloadType=none)), True


def _encodings(forge: Forge) -> Iterator[Tampered]:
    """The same bytes in another Base64; most decoders read them."""
    text, sig = forge.good["payload"], forge.good["signatures"][0]["sig"]
    for other in (text + "\n", " " + text, text[:76] + "\n" + text[76:], text + "====", "%" + text):
        yield "Base64 of the payload", _written(forge.envelope() | {"payload": other}), False
    yield "Base64 of the payload", _written(forge.envelope() | {"payload": text.swapcase()}), True
    yield "Base64 of the payload", _written(forge.second | {"payload": _last_bits(forge.second["payload"])}), False
    url = sig.replace("+", "-").replace("/", "_")
    for other in (
        sig + "\n",
        " " + sig,
        sig.rstrip("="),
        f"{sig[:44]}\n{sig[44:]}",
        _last_bits(sig),
        sig + "AA==",
        f"{url}=",
    ):
        yield "Base64 of the signature", _written(forge.envelope(sig=other)), False
    for other in (sig.swapcase(), base64.b64decode(sig).hex()):
        yield "Base64 of the signature", _written(forge.envelope(sig=other)), True


def _signatures(forge: Forge) -> Iterator[Tampered]:
    """None, several, others, and more in them than belongs there."""
    one = forge.good["signatures"][0]
    strange = {"keyid": forge.keyid["stranger"], "sig": _base64(bytes(64))}
    lists: list[tuple[Any, bool]] = [
        ([], True),
        ({}, True),
        (None, True),
        ("", True),
        ([None], True),
        ([[]], True),
        ([{}], True),
        ([one["sig"]], True),
        ([one, one], True),
        ([one, strange], False),
        ([strange, one], False),
        ([one, one | {"keyid": forge.keyid["other"]}], False),
        ([one | {"alg": "none"}], False),
        ([one | {"algorithm": "Ed25519"}], False),
        ([one | {"cert": ""}], False),
        ([{"sig": one["sig"]}], True),
        ([{"keyid": one["keyid"]}], True),
        ([one | {"keyid": None}], True),
        ([one | {"keyid": one["keyid"].upper()}], True),
        ([one | {"keyid": one["keyid"][:8]}], True),
        ([one | {"keyid": ""}], True),
        ([one | {"keyid": forge.keyid["other"]}], True),
        ([one | {"keyid": forge.keyid["stranger"]}], True),
        ([one | {"sig": None}], True),
        ([one | {"sig": ""}], True),
        ([one | {"sig": _base64(bytes(64))}], True),
        ([one | {"sig": _base64(base64.b64decode(one["sig"])[:63])}], True),
        ([one | {"sig": _base64(base64.b64decode(one["sig"]) + b"\0")}], True),
    ]
    for signatures, library in lists:
        yield "signatures", _written(forge.envelope(signatures=signatures)), library


def _signed_otherwise(forge: Forge) -> Iterator[Tampered]:
    """Signatures by the wrong key, over other bytes, or of another file."""
    from vla_agent.gate.certificate.envelope import pae

    kind, family = forge.good["payloadType"], "another signature"
    signed = pae(kind, forge.payload)
    yield family, _written(forge.envelope(sig=forge.stranger.sign(signed))), True
    yield family, _written(forge.envelope(sig=forge.stranger.sign(signed), keyid=forge.keyid["stranger"])), True
    yield family, _written(forge.envelope(sig=forge.other.sign(signed))), True
    bare = [forge.payload, signed.replace(b"DSSEv1", b"DSSEv2"), pae("", forge.payload), pae(kind, b""), kind.encode()]
    for other in [*bare, pae("application/vnd.vla-agent.revocations+json", forge.payload), forge.payload + b"\n", b""]:
        yield family, _written(forge.envelope(sig=forge.lab.sign(other))), True
    yield family, _written(forge.envelope(sig=forge.second["signatures"][0]["sig"])), True
    yield family, _written(forge.envelope(payload=base64.b64decode(forge.second["payload"]))), True


def _formats(forge: Forge) -> Iterator[Tampered]:
    """Older formats and other statements; the lab's own key signed these, so that the library has to accept them."""
    from vla_agent.files.canonical_json import canonical
    from vla_agent.gate.certificate.certificate import CERTIFICATE
    from vla_agent.gate.certificate.envelope import seal

    statement = json.loads(forge.payload)
    predicate = statement["predicate"]
    for number in (1, 2):
        older = predicate | {"format": number}
        value = _base64(forge.lab.sign(canonical(older)))
        signature = {"algorithm": "Ed25519", "key": forge.keyid["lab"], "value": value}
        yield "older format", _written({"payload": older, "signature": signature}), True
    others: list[Any] = [
        statement | {"_type": "https://in-toto.io/Statement/v0.1"},
        statement | {"predicateType": statement["predicateType"].replace("v3", "v2")},
        statement | {"predicate": predicate | {"format": 2}},
        statement | {"subject": []},
        statement | {"more": 1},
        {k: v for k, v in statement.items() if k != "subject"},
        predicate,
        [statement],
    ]
    for other in others:
        yield "another statement", _written(seal(CERTIFICATE, canonical(other), forge.lab)), False
    yield "another statement", _written(seal(CERTIFICATE, json.dumps(statement).encode(), forge.lab)), False
    double = forge.payload.replace(b'"_type"', b'"_type":"x","_type"', 1)
    yield "a key twice", _written(seal(CERTIFICATE, double, forge.lab)), False


def _bytes_of_the_file(forge: Forge, rng: random.Random) -> Iterator[Tampered]:
    """Cut off, added to, written otherwise, keys twice, nested without end."""
    content = _written(forge.good)
    for at in rng.sample(range(1, len(content) - 2), CUTS):
        yield "cut off", content[:at], True
    for other in (content + b" ", b"\n" + content, content + content, b"\xef\xbb\xbf" + content):
        yield "bytes added", other, len(other) > len(content) + 3
    yield "written otherwise", json.dumps(forge.good).encode(), False
    yield "written otherwise", json.dumps(forge.good, indent=2, sort_keys=True).encode(), False
    twice: dict[str, Any] = {"payload": "", "payloadType": "text/plain", "signatures": []}
    for key, value in twice.items():
        text, line = content.decode(), f'"{key}": '
        yield "a key twice", text.replace(line, f"{line}{json.dumps(value)}, {line}", 1).encode(), False
    yield "nested", b'{"payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", True
    yield "nested", b"[" * 1_000_000, True


def _values(forge: Forge, rng: random.Random) -> Iterator[Tampered]:
    """Single values of the statement, with the old signature."""
    from vla_agent.files.canonical_json import canonical

    leaves = sorted(_leaves(json.loads(forge.payload)), key=str)
    rng.shuffle(leaves)
    for path in leaves:
        statement: Any = json.loads(forge.payload)
        inside = statement
        for key in path[:-1]:
            inside = inside[key]
        value = inside[path[-1]]
        inside[path[-1]] = value + 1 if isinstance(value, int | float) else "0" if value is None else f"{value}0"
        yield "value of the statement", _written(forge.envelope(payload=canonical(statement))), True


def _leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    if items is None:
        yield path
    else:
        for key, value in items:
            yield from _leaves(value, (*path, key))


def _last_bits(text: str) -> str:
    """Another Base64 text of the same bytes: the bits of its last digit that say nothing."""
    body = text.rstrip("=")
    return body[:-1] + DIGITS[DIGITS.index(body[-1]) ^ 1] + "=" * (len(text) - len(body))


def _flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _written(data: Any) -> bytes:
    from vla_agent.files.canonical_json import readable

    return readable(data).encode()
