"""A phone in memory: the keys that a real one keeps in hardware, and the proofs it makes.

Everything that an attacker may do to a proof is a parameter here, so that tests forge with the
same few lines that honest phones use.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wallet.auth.enrol_device import NewDevice, VerifiedKey
from wallet.auth.proofs import base64url, thumbprint_of
from wallet.core.clock import MICROSECONDS

ORIGIN: Final = "https://wallet.example.jp"


class SoftKey:
    """A P-256 key that signs as phones do: ES256, r and s of 32 bytes each."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.public_key = self._private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )

    def sign(self, message: bytes) -> bytes:
        """Return the signature over a message."""
        r, s = decode_dss_signature(self._private.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as a JWK."""
        x, y = self.public_key[1:33], self.public_key[33:]
        return {"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)}


class SoftDevice:
    """A phone with a device key and a second one that its user's finger releases."""

    def __init__(self) -> None:
        self.key = SoftKey()
        self.verified_key = SoftKey()

    def new_device(self, **changes: Any) -> NewDevice:  # noqa: ANN401 - fields of many types
        """Return what enrolling this phone takes."""
        signature = self.verified_key.sign(thumbprint_of(self.key.public_key))
        fields: dict[str, Any] = {
            "public_key": self.key.public_key,
            "verified_key": VerifiedKey(self.verified_key.public_key, signature),
            "name": "太郎のスマホ",
            "app_version": "1.0.0",
        }
        return NewDevice(**{**fields, **changes})

    def proof(
        self,
        method: str,
        path: str,
        *,
        now_us: int,
        access_token: str | None = None,
        body: bytes | None = None,
        header: Mapping[str, Any] | None = None,
        claims: Mapping[str, Any] | None = None,
        signer: SoftKey | None = None,
    ) -> str:
        """Return a proof of one request; ``header`` and ``claims`` replace what it would say.

        A value of None leaves the name out.
        """
        said: dict[str, Any] = {
            "jti": base64url(secrets.token_bytes(16)),
            "htm": method,
            "htu": f"{ORIGIN}{path}",
            "iat": now_us // MICROSECONDS,
            "ath": None if access_token is None else digest(access_token.encode()),
            "bh": None if body is None else digest(body),
            **(claims or {}),
        }
        head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.key.jwk, **(header or {})}
        signed = f"{_encode(head)}.{_encode(said)}"
        return f"{signed}.{base64url((signer or self.key).sign(signed.encode()))}"

    def sign_challenge(self, challenge: bytes) -> bytes:
        """Return the second key's signature over a challenge, as after a finger on the phone."""
        return self.verified_key.sign(challenge)

    def headers(
        self, method: str, path: str, *, access_token: str, now_us: int, body: bytes | None = None
    ) -> dict[str, str]:
        """Return the headers of a request of this phone with a session."""
        proof = self.proof(method, path, now_us=now_us, access_token=access_token, body=body)
        return {"authorization": f"DPoP {access_token}", "dpop": proof}


def digest(content: bytes) -> str:
    """Return the SHA-256 in base64url, as claims have it."""
    return base64url(hashlib.sha256(content).digest())


def _encode(values: Mapping[str, Any]) -> str:
    present = {name: value for name, value in values.items() if value is not None}
    return base64url(json.dumps(present, separators=(",", ":")).encode())
