"""People with phones, for the benchmark: keys as phones have them, proofs and signatures.

They are made by the cryptography library directly, before anything is measured.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.auth.enrol_device import NewDevice, VerifiedKey, enrol_device
from wallet.auth.open_session import RESIDENT, open_session
from wallet.auth.proofs import base64url, thumbprint_of
from wallet.auth.rules import Method, show
from wallet.core.clock import MICROSECONDS, system_clock
from wallet.core.database import write
from wallet.people.persons import open_person
from wallet.people.rules import Tier

PEOPLE_PER_TRANSACTION: Final = 250


class Key:
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


@dataclass(frozen=True, kw_only=True)
class Phone:
    """Somebody's phone, signed in, and their wallet."""

    key: Key
    verified_key: Key
    device_id: UUID
    wallet_id: UUID
    access_token: str

    def proof(self, path: str, body: bytes) -> str:
        """Return the proof of one POST."""
        claims = {
            "jti": base64url(secrets.token_bytes(16)),
            "htm": "POST",
            "htu": f"https://wallet.example.jp{path}",
            "iat": system_clock() // MICROSECONDS,
            "ath": _digest(self.access_token.encode()),
            "bh": _digest(body),
        }
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.key.jwk}
        signed = f"{_encode(header)}.{_encode(claims)}"
        return f"{signed}.{base64url(self.key.sign(signed.encode()))}"


async def make_phones(engine: AsyncEngine, *, count: int, pepper: bytes) -> list[Phone]:
    """Enrol people who hold a phone each; about 2 s for a thousand."""
    phones: list[Phone] = []
    while len(phones) < count:
        group = min(PEOPLE_PER_TRANSACTION, count - len(phones))
        phones += await write(engine, partial(_enrol, count=group, pepper=pepper))
    return phones


async def _enrol(connection: AsyncConnection, *, count: int, pepper: bytes) -> list[Phone]:
    return [await _enrol_one(connection, pepper) for _ in range(count)]


async def _enrol_one(connection: AsyncConnection, pepper: bytes) -> Phone:
    now_us, key, verified_key = system_clock(), Key(), Key()
    opened = await open_person(connection, tier=Tier.DEVICE, now_us=now_us)
    signature = verified_key.sign(thumbprint_of(key.public_key))
    new = NewDevice(
        public_key=key.public_key,
        verified_key=VerifiedKey(verified_key.public_key, signature),
        name="phone",
        app_version="1.0.0",
    )
    enrolled = await enrol_device(connection, principal_id=opened.person_id, new=new, now_us=now_us)
    tokens = await open_session(
        connection,
        principal_id=opened.person_id,
        device_id=enrolled.device_id,
        shown=show(Method.DEVICE_KEY, at_us=now_us),
        terms=RESIDENT,
        pepper=pepper,
        now_us=now_us,
    )
    return Phone(
        key=key,
        verified_key=verified_key,
        device_id=enrolled.device_id,
        wallet_id=opened.wallet_id,
        access_token=tokens.access_token,
    )


def _digest(content: bytes) -> str:
    return base64url(hashlib.sha256(content).digest())


def _encode(values: dict[str, Any]) -> str:
    return base64url(json.dumps(values, separators=(",", ":")).encode())
