"""Proofs: each request of a phone is signed by the key that the phone was enrolled with.

The form is DPoP (RFC 9449): a JWT with ``typ`` ``dpop+jwt``, signed with ES256, that names the
method (``htm``), the URL (``htu``), the moment (``iat``), itself (``jti``) and the access token
(``ath``). A claim of our own, ``bh``, is the SHA-256 of the body in base64url, so that nothing of a
write can be changed under way. Of ``htu`` the path is compared: the planes stand behind proxies
and do not know what the world calls them. A phone whose clock is wrong sets itself by the ``Date``
of the answer that refused it.

One algorithm, one curve, and no header but the three that RFC 9449 asks for: what cannot be said
cannot be confused (``alg: none``, ``jku``, ``x5u``, ``crit``).
"""

import base64
import hashlib
import hmac
import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import MICROSECONDS, to_datetime
from wallet.core.refusals import Refusal, RefusedError

PROOF_CHARACTERS_MAX: Final = 2_048
LEEWAY_S: Final = 60
"""How far a proof's moment may be from ours, either way."""

PUBLIC_KEY_BYTES: Final = 65
SIGNATURE_BYTES: Final = 64

UNAUTHENTICATED: Final = Refusal("unauthenticated")
PROOF_REPLAYED: Final = Refusal("proof_replayed")

# 32 and 64 bytes are 43 and 86 characters of base64url without padding.
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})")
_HTU: Final = re.compile(r"(?i:https?)://[^/?#\s]+(/[^?#]*)")
_COORDINATE: Final = r"^[A-Za-z0-9_-]{43}\Z"
_JTI: Final = r"^[!-~]{16,128}\Z"
_MOMENT: Final = msgspec.Meta(ge=0, le=2**40)

_ALGORITHM: Final = ECDSA(SHA256())
_CURVE: Final = SECP256R1()


class ProofFault(StrEnum):
    """What is wrong with a proof; for logs and tests, never for the one who sent it."""

    MALFORMED = "malformed"
    HEADER = "header"
    CLAIMS = "claims"
    KEY = "key"
    METHOD = "method"
    PATH = "path"
    MOMENT = "moment"
    TOKEN = "token"  # noqa: S105 - the name of a fault
    BODY = "body"
    SIGNATURE = "signature"


class ProofRefusedError(RefusedError):
    """A proof proves nothing. The caller hears ``unauthenticated`` and not a word more."""

    def __init__(self, fault: ProofFault) -> None:
        super().__init__(UNAUTHENTICATED.code)
        self.fault = fault


class Proof(msgspec.Struct, frozen=True, gc=False):
    """A proof that holds: what makes it one of a kind, and until when it could be shown again."""

    jti_hash: bytes
    expires_at: datetime
    public_key: bytes = b""


class _Jwk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: Annotated[str, msgspec.Meta(pattern=_COORDINATE)]
    y: Annotated[str, msgspec.Meta(pattern=_COORDINATE)]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    typ: Literal["dpop+jwt"]
    alg: Literal["ES256"]
    jwk: _Jwk


class _Claims(msgspec.Struct, frozen=True):
    jti: Annotated[str, msgspec.Meta(pattern=_JTI)]
    htm: str
    htu: Annotated[str, msgspec.Meta(max_length=1_024)]
    iat: Annotated[int, _MOMENT] | Annotated[float, _MOMENT]
    ath: str | None = None
    bh: str | None = None


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_claims = msgspec.json.Decoder(_Claims).decode


def verify_proof(
    proof: str,
    *,
    method: str,
    url_path: str,
    public_key: bytes | None,
    access_token: str | None,
    body: bytes | None,
    now_us: int,
) -> Proof:
    """Return the proof when it is of this very request and signed by ``public_key``.

    ``access_token`` None is a request that shows none (enrolment, refresh); ``body`` None is one
    that changes nothing. ``public_key`` None takes the key that the proof names, and leaves it to
    the caller to see whose that is (:attr:`Proof.public_key`). Raises :class:`ProofRefusedError`.
    The signature, which costs most, is looked at last. Whoever changes something must see the
    proof burnt too (:func:`burn_proof`).
    """
    found = _split(proof)
    header, claims = _header_of(found), _claims_of(found)
    named = _key_of(header)
    if public_key is None:
        public_key = named
    elif named != public_key:
        raise ProofRefusedError(ProofFault.KEY)
    issued_at_us = int(claims.iat * MICROSECONDS)
    fault = _find_fault(claims, method, url_path, access_token, body) or (
        ProofFault.MOMENT if abs(now_us - issued_at_us) > LEEWAY_S * MICROSECONDS else None
    )
    if fault is not None:
        raise ProofRefusedError(fault)
    signed = proof[: found.end(2)].encode("ascii")
    if not is_signed(signed, signature=decode_base64url(found[3]), public_key=public_key):
        raise ProofRefusedError(ProofFault.SIGNATURE)
    return Proof(
        jti_hash=hashlib.sha256(public_key + claims.jti.encode()).digest(),
        expires_at=to_datetime(issued_at_us + 2 * LEEWAY_S * MICROSECONDS),
        public_key=public_key,
    )


def key_named_by(proof: str) -> bytes:
    """Return the public key that a proof names: enrolment's way to learn it.

    Nothing is proved by that; the proof must then be verified with this key. Raises as
    :func:`verify_proof` does.
    """
    return _key_of(_header_of(_split(proof)))


def is_signed(message: bytes, *, signature: bytes, public_key: bytes) -> bool:
    """Whether ``signature`` (r and s, 32 bytes each) is the key's ES256 over ``message``."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        load_key(public_key).verify(encode_dss_signature(r, s), message, _ALGORITHM)
    except (InvalidSignature, ValueError):
        return False
    return True


def load_key(public_key: bytes) -> EllipticCurvePublicKey:
    """Return the key of 65 bytes (SEC 1, uncompressed). Raises ValueError when it is no point."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        message = f"an uncompressed P-256 key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}"
        raise ValueError(message)
    return EllipticCurvePublicKey.from_encoded_point(_CURVE, public_key)


def thumbprint_of(public_key: bytes) -> bytes:
    """Return the SHA-256 thumbprint of a P-256 key (RFC 7638)."""
    x, y = base64url(public_key[1:33]), base64url(public_key[33:])
    return hashlib.sha256(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode()).digest()


def base64url(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Return the bytes of base64url without padding. Raises ValueError."""
    return base64.urlsafe_b64decode(text + "==")


# The caller's transaction need not wait for the disk: what a crash of the database can lose is
# its last half second, by the time it is back those proofs are stale, and money has keys of its
# own against repetition. Each row written takes two away that are over, so no job need.
_BURN: Final = text("""
WITH eased AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true)
    WHERE CAST(:eased AS boolean)
), swept AS (
    DELETE FROM used_proof WHERE jti_hash = ANY (ARRAY(
        SELECT jti_hash FROM used_proof WHERE expires_at < :now
        ORDER BY expires_at LIMIT 2 FOR UPDATE SKIP LOCKED))
)
INSERT INTO used_proof (jti_hash, expires_at)
SELECT :jti_hash, :expires_at FROM (SELECT count(*) FROM eased) AS once
ON CONFLICT (jti_hash) DO NOTHING
""")


async def burn_proof(
    connection: AsyncConnection, *, proof: Proof, now_us: int, alone: bool = False
) -> bool:
    """Use the proof up in the caller's transaction; return False when it was used before.

    Parallel requests with one proof wait for each other here, and one of them goes on. ``alone``
    says that the transaction does nothing else and need not wait for the disk.
    """
    done = await connection.execute(
        _BURN,
        {
            "jti_hash": proof.jti_hash,
            "expires_at": proof.expires_at,
            "now": to_datetime(now_us),
            "eased": alone,
        },
    )
    return done.rowcount == 1


def _split(proof: str) -> re.Match[str]:
    found = None if len(proof) > PROOF_CHARACTERS_MAX else _COMPACT.fullmatch(proof)
    if found is None:
        raise ProofRefusedError(ProofFault.MALFORMED)
    return found


def _header_of(found: re.Match[str]) -> _Header:
    try:
        return _decode_header(decode_base64url(found[1]))
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise ProofRefusedError(ProofFault.HEADER) from None


def _claims_of(found: re.Match[str]) -> _Claims:
    try:
        return _decode_claims(decode_base64url(found[2]))
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise ProofRefusedError(ProofFault.CLAIMS) from None


def _key_of(header: _Header) -> bytes:
    return b"\x04" + decode_base64url(header.jwk.x) + decode_base64url(header.jwk.y)


def _find_fault(
    claims: _Claims, method: str, url_path: str, access_token: str | None, body: bytes | None
) -> ProofFault | None:
    """Return what of the request the proof does not fit."""
    if claims.htm != method:
        return ProofFault.METHOD
    if not _is_at(claims.htu, url_path):
        return ProofFault.PATH
    if access_token is not None and not _is_digest(claims.ath, access_token.encode()):
        return ProofFault.TOKEN
    if body is not None and not _is_digest(claims.bh, body):
        return ProofFault.BODY
    return None


def _is_at(htu: str, url_path: str) -> bool:
    found = _HTU.fullmatch(htu)
    return found is not None and found[1] == url_path


def _is_digest(said: str | None, content: bytes) -> bool:
    if said is None:
        return False
    return hmac.compare_digest(
        said.encode("utf-8", "replace"), base64url(hashlib.sha256(content).digest()).encode()
    )
