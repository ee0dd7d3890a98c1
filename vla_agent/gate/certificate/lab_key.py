"""The laboratory's key as ledger and scratch files use it: one signs, the trusted ones count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vla_agent.errors import CertificateError
from vla_agent.gate.certificate.keys import Key, fingerprint, sign_bytes, verify_bytes


@dataclass(frozen=True)
class LabKey:
    """A `vla_agent.gate.evidence.signed_lines.Signer`.

    Attributes:
        trusted: fingerprint -> key, whose signatures count; see `keys.trusted`.
        private: the key that signs; its own signatures count, too.  None: lines are only read.
    """

    trusted: Mapping[str, Key]
    private: Ed25519PrivateKey | None = None

    @property
    def fingerprint(self) -> str:
        return fingerprint(self._own().public_key())

    def sign(self, data: bytes) -> str:
        """A signature of ``private`` over ``data``, in Base64."""
        return sign_bytes(self._own(), data)

    def signed(self, key: str, data: bytes, signature: str) -> bool:
        """Whether ``signature`` over ``data`` is of the trusted key with the fingerprint ``key``."""
        public = self.trusted[key].public if key in self.trusted else None
        if public is None and self.private is not None and key == self.fingerprint:
            public = self.private.public_key()
        return public is not None and verify_bytes(public, data, signature)

    def _own(self) -> Ed25519PrivateKey:
        if self.private is None:
            raise CertificateError(
                "there is no key to sign with", key="--key", expected="a private key", found="public keys only",
                remedy="vla-agent keys create NAME",
            )  # fmt: skip
        return self.private
