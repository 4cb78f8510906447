"""Codes that are shown and read once: those of gifts, and those at civic events.

A gift's code is a secret of 160 bits, kept as a keyed hash; it follows from the giver's key for the
request, so a repeat is told it again. A code at an event says by itself for
which event and which day it is good, and bears a keyed MAC over that and ten random bytes: none has
to be written down before it is shown, and whoever makes one up is found out. What was read is kept,
so each is good once.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import date
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.ids import SECRET_BYTES, keyed_hash

GIFT_PREFIX: Final = "gift_"
EVENT_PREFIX: Final = "evc_"

NONCE_BYTES: Final = 10
_MAC_BYTES: Final = 16
_DAY_BYTES: Final = 4
_BYTES: Final = 16 + _DAY_BYTES + NONCE_BYTES + _MAC_BYTES
_PERSON: Final = b"civic event"


class EventCode(msgspec.Struct, frozen=True):
    """What a genuine code says: for which event and day it is good, and which one of them it is."""

    event_id: UUID
    day: date
    nonce: bytes


def gift_code_of(giver_id: UUID, *, idempotency_key: str, pepper: bytes) -> str:
    """Return the code of the gift that somebody asks for under this key, the same each time."""
    digest = hashlib.blake2b(
        giver_id.bytes + idempotency_key.encode(),
        key=pepper,
        digest_size=SECRET_BYTES,
        person=b"gift code",
    ).digest()
    return GIFT_PREFIX + base64.b32encode(digest).decode("ascii").lower()


def gift_code_hash(code: str, *, pepper: bytes) -> bytes:
    """Return what is kept of a gift's code."""
    return keyed_hash(f"gift code {code.strip().lower()}", pepper=pepper)


def new_event_code(event_id: UUID, *, day: date, pepper: bytes) -> str:
    """Return a code for one participant of an event on one day."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    said = event_id.bytes + day.toordinal().to_bytes(_DAY_BYTES, "big") + nonce
    text = base64.b32encode(said + _mac(said, pepper)).decode("ascii").rstrip("=")
    return EVENT_PREFIX + text.lower()


def read_event_code(code: str, *, pepper: bytes) -> EventCode | None:
    """Return what a code says, None for one that this city has not made."""
    text = code.strip().lower()
    if not text.startswith(EVENT_PREFIX):
        return None
    digits = text.removeprefix(EVENT_PREFIX).upper()
    try:
        raw = base64.b32decode(digits + "=" * (-len(digits) % 8))
    except (binascii.Error, ValueError):
        return None
    said, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if len(raw) != _BYTES or not hmac.compare_digest(mac, _mac(said, pepper)):
        return None
    day = date.fromordinal(int.from_bytes(said[16 : 16 + _DAY_BYTES], "big"))
    return EventCode(UUID(bytes=said[:16]), day, said[-NONCE_BYTES:])


def _mac(said: bytes, pepper: bytes) -> bytes:
    return hashlib.blake2b(said, key=pepper, digest_size=_MAC_BYTES, person=_PERSON).digest()
