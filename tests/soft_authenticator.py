"""An authenticator in software: what a phone and its browser do when a page asks for a passkey.

It answers the options of :mod:`wallet.auth.passkeys` with the JSON that a page would send on. The
bytes follow Web Authentication Level 2, sections 6.1 (authenticator data), 5.8.1 (client data) and
6.5.1 (attested credential data). Everything a rogue one could lie about is an argument.
"""

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256

USER_PRESENT = 0x01
USER_VERIFIED = 0x04
BACKUP_ELIGIBLE = 0x08
BACKED_UP = 0x10
ATTESTED = 0x40

ORIGIN = "http://localhost:8000"


@dataclass
class SoftAuthenticator:
    """One passkey and the browser in front of it; ``create`` makes the key, ``get`` uses it.

    ``sign_count`` None is a synced passkey, which counts nothing and is backed up. The other
    fields are what a phishing page or a broken phone would change: the page's ``origin``, the
    ``rp_id`` that was hashed, whether the user was ``verified``, whether a ``framed`` page asked.
    """

    origin: str = ORIGIN
    rp_id: str | None = None
    verified: bool = True
    framed: bool = False
    sign_count: int | None = 0
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))
    user_handle: bytes = b""
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))

    def create(self, options: dict[str, Any]) -> str:
        """Answer ``navigator.credentials.create(options)``."""
        self.user_handle = decode(options["user"]["id"])
        client_data = self._client_data("webauthn.create", options["challenge"])
        public = self.key.public_key().public_numbers()
        # RFC 9053: 1 kty = EC2, 3 alg = ES256, -1 crv = P-256, -2 x, -3 y.
        cose_key = {
            1: 2, 3: -7, -1: 1, -2: public.x.to_bytes(32, "big"), -3: public.y.to_bytes(32, "big"),
        }  # fmt: skip
        size = len(self.credential_id).to_bytes(2, "big")
        attested = bytes(16) + size + self.credential_id + cbor2.dumps(cose_key)
        data = self._authenticator_data(options["rp"]["id"], ATTESTED) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._credential(clientDataJSON=client_data, attestationObject=attestation)

    def get(self, options: dict[str, Any]) -> str:
        """Answer ``navigator.credentials.get(options)``; counts up when it counts at all."""
        if self.sign_count is not None:
            self.sign_count += 1
        client_data = self._client_data("webauthn.get", options["challenge"])
        data = self._authenticator_data(options["rpId"], 0)
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ECDSA(SHA256()))
        return self._credential(
            clientDataJSON=client_data,
            authenticatorData=data,
            signature=signature,
            userHandle=self.user_handle,
        )

    def _client_data(self, kind: str, challenge: str) -> bytes:
        content = {
            "type": kind,
            "challenge": challenge,
            "origin": self.origin,
            "crossOrigin": self.framed,
        }
        return json.dumps(content, separators=(",", ":")).encode()

    def _authenticator_data(self, rp_id: str, flags: int) -> bytes:
        flags |= USER_PRESENT | (USER_VERIFIED if self.verified else 0)
        flags |= BACKUP_ELIGIBLE | BACKED_UP if self.sign_count is None else 0
        hashed = hashlib.sha256((self.rp_id or rp_id).encode()).digest()
        return hashed + bytes([flags]) + (self.sign_count or 0).to_bytes(4, "big")

    def _credential(self, **response: bytes) -> str:
        return json.dumps(
            {
                "id": encode(self.credential_id),
                "rawId": encode(self.credential_id),
                "type": "public-key",
                "response": {name: encode(value) for name, value in response.items()},
            }
        )


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "==")
