"""Identifiers: UUIDv7 (RFC 9562 section 5.7) inside, ``prefix_`` + 32 hex digits at the doors.

Ids are names, not secrets: anything that must not be guessed carries its own random bits
(:func:`new_secret`).
"""

import base64
import hashlib
import secrets
import uuid
from os import urandom

# asyncpg's UUID is a subclass of uuid.UUID made in C: four times faster to build and to send.
from asyncpg.pgproto.pgproto import UUID as FastUUID  # noqa: N811 - it is a class, not a constant

SECRET_BYTES = 20
"""160 random bits in every secret: codes, API keys."""

NUMBERED_MAX = 15
"""Ids between one aligned id and the next."""

_HEX_DIGITS = 32


def new_id(*, now_us: int) -> uuid.UUID:
    """Return a UUIDv7 for the moment ``now_us`` (microseconds since the epoch).

    The 12 bits after the version hold the sub-millisecond part (RFC 9562, method 3), so ids made
    in one process sort almost exactly by time.
    """
    milliseconds, microseconds = divmod(now_us, 1000)
    fraction = microseconds * 4096 // 1000
    head = (milliseconds << 16) | 0x7000 | fraction
    tail = (int.from_bytes(urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000
    made: uuid.UUID = FastUUID(((head << 64) | tail).to_bytes(16, "big"))
    return made


def public_id(prefix: str, identifier: uuid.UUID) -> str:
    """Return the form that leaves the house, e.g. ``pay_0193…`` (32 hex digits)."""
    return f"{prefix}_{identifier.hex}"


def parse_public_id(prefix: str, text: str) -> uuid.UUID | None:
    """Return the id in ``text``, or None when it is not ``prefix_`` and 32 small hex digits."""
    head, separator, digits = text.partition("_")
    if head != prefix or not separator or len(digits) != _HEX_DIGITS or digits != digits.lower():
        return None
    try:
        parsed: uuid.UUID = FastUUID(bytes.fromhex(digits))
    except ValueError:
        return None
    return parsed


def align_id(identifier: uuid.UUID) -> uuid.UUID:
    """Return the id with its last four bits cleared: room for :data:`NUMBERED_MAX` ids after it.

    What belongs to one thing, such as the transfers of a payment, is then one short range of ids.
    """
    raw = identifier.bytes
    aligned: uuid.UUID = FastUUID(raw[:15] + bytes((raw[15] & 0xF0,)))
    return aligned


def numbered_id(aligned: uuid.UUID, number: int) -> uuid.UUID:
    """Return the id that is ``number``, 1 to :data:`NUMBERED_MAX`, after an aligned one."""
    raw = aligned.bytes
    made: uuid.UUID = FastUUID(raw[:15] + bytes((raw[15] | number,)))
    return made


def new_secret(prefix: str) -> str:
    """Return ``prefix`` followed by 160 random bits in 32 unambiguous base-32 characters."""
    random_part = base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")
    return prefix + random_part.lower()


def keyed_hash(secret: str, *, pepper: bytes) -> bytes:
    """Return the 32-byte BLAKE2b of ``secret`` under ``pepper`` (RFC 7693): what is stored.

    A fast hash is right here because the secret has 128 random bits or more; for anything a
    person chose it would be wrong.
    """
    return hashlib.blake2b(secret.encode("utf-8", "replace"), key=pepper, digest_size=32).digest()
