"""The audit trail: who did what, on whom, why and from where.

Who only looked at somebody's data stands in it as well, and who was refused.

**The chain.** Entries are numbered without a gap. An entry's hash is the BLAKE2b with 32 bytes
(RFC 7693) of the previous entry's hash (zeros before the first) followed by the entry as canonical
JSON (RFC 8785) with exactly the members of :func:`canonical`. The head row is locked while an entry
is added, so the chain is in order at every moment; ``wallet audit verify`` recomputes it.

**What goes in.** Ids of ours, numbers, short words, and a reason in somebody's own words. A reason
is scrubbed; anywhere else, something that looks personal or secret is a mistake of the programme
and raises, because an entry can never be taken back.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
import rfc8785
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.database import write
from wallet.core.ids import keyed_hash
from wallet.core.scrub import contains_personal, scrub

FIRST_PREVIOUS_HASH: Final = bytes(32)

REASON_CHARACTERS_MAX: Final = 500
TEXT_CHARACTERS_MAX: Final = 200
DETAILS_MAX: Final = 20
INTEGER_MAX: Final = 2**53 - 1
"""The largest number that canonical JSON can say (RFC 8785, from RFC 7493)."""

_ACTION: Final = re.compile(r"[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)+")
_ACTOR: Final = re.compile(r"[a-z]{3}_[0-9a-f]{32}|system|cli:[0-9A-Za-z._-]{1,64}")
_ORIGIN: Final = re.compile(r"[a-z]{2,16}(:[0-9a-f]{32})?")
_DETAIL: Final = re.compile(r"[a-z]+(_[a-z0-9]+)*")

_LOCK_HEAD: Final = text("SELECT seq, hash FROM audit_head WHERE id = 1 FOR UPDATE")
_INSERT: Final = text("""
WITH entry AS (
    INSERT INTO audit_entry (seq, at_us, action, actor, subject, reason, origin, outcome, details,
                             previous_hash, hash)
    VALUES (:seq, :at_us, :action, :actor, :subject, :reason, :origin, :outcome,
            CAST(:details AS jsonb), :previous_hash, :hash)
)
UPDATE audit_head SET seq = :seq, hash = :hash WHERE id = 1
""")


class UnfitEntryError(ValueError):
    """An entry has a form that the trail does not take, or holds what it must never hold."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done, looked at or refused.

    ``action`` is dotted, such as ``stop.engage``. ``actor`` is an id of ours (``stf_…``,
    ``per_…``), ``system``, or ``cli:NAME`` for a user of the operating system. ``origin`` is from
    :func:`origin_of`, never an address.
    """

    action: str
    actor: str
    subject: str | None = None
    reason: str | None = None
    origin: str | None = None
    outcome: Literal["done", "refused"] = "done"
    details: Mapping[str, int | str] = {}


def origin_of(plane: str, address: str | None, *, pepper: bytes) -> str:
    """Return the plane and a keyed hash of the address: enough to tell that two are the same."""
    if address is None:
        return plane
    return f"{plane}:{keyed_hash(f'origin {address}', pepper=pepper)[:16].hex()}"


async def append(connection: AsyncConnection, *, entry: Entry, now_us: int) -> int:
    """Add an entry in the caller's transaction, as its last statement, and return its number.

    Whoever else wants to add one waits from here until the caller has committed, so there must be
    nothing left to do. Raises :class:`UnfitEntryError`.
    """
    entry = fit(entry)
    seq, previous_hash = (await connection.execute(_LOCK_HEAD)).one()
    fields = canonical(entry, seq=seq + 1, at_us=now_us)
    values = {
        **fields,
        "details": msgspec.json.encode(fields["details"]).decode(),
        "previous_hash": previous_hash,
        "hash": chain_hash(previous_hash, fields),
    }
    await connection.execute(_INSERT, values)
    number: int = seq + 1
    return number


async def append_refused(engine: AsyncEngine, *, entry: Entry, now_us: int) -> int:
    """Add an entry for what was refused, in a transaction of its own, and return its number.

    The refused work was rolled back, and an entry in its transaction would have gone with it.
    """
    refused = msgspec.structs.replace(entry, outcome="refused")
    return await write(engine, lambda connection: append(connection, entry=refused, now_us=now_us))


def canonical(entry: Entry, *, seq: int, at_us: int) -> dict[str, Any]:
    """Return the members of an entry that its hash covers."""
    return {
        "seq": seq,
        "at_us": at_us,
        "action": entry.action,
        "actor": entry.actor,
        "subject": entry.subject,
        "reason": entry.reason,
        "origin": entry.origin,
        "outcome": entry.outcome,
        "details": dict(entry.details),
    }


def chain_hash(previous_hash: bytes, fields: Mapping[str, Any]) -> bytes:
    """Return the hash of an entry's members after the entry with ``previous_hash``."""
    return hashlib.blake2b(previous_hash + rfc8785.dumps(dict(fields)), digest_size=32).digest()


def fit(entry: Entry) -> Entry:
    """Return the entry as it is kept, its reason scrubbed; raises :class:`UnfitEntryError`."""
    for name, value, form in (
        ("action", entry.action, _ACTION),
        ("actor", entry.actor, _ACTOR),
        ("origin", entry.origin, _ORIGIN),
    ):
        if value is not None and not form.fullmatch(value):
            message = f"the {name} of an audit entry has another form: {scrub(value)[:80]!r}"
            raise UnfitEntryError(message)
    if entry.subject is not None:
        _check_text("subject", entry.subject)
    if len(entry.details) > DETAILS_MAX:
        message = f"{len(entry.details)} details in an audit entry; at most {DETAILS_MAX}"
        raise UnfitEntryError(message)
    for name, detail in entry.details.items():
        _check_detail(name, detail)
    return msgspec.structs.replace(entry, reason=own_words(entry.reason))


def may_keep(value: int | str) -> bool:
    """Whether the trail takes the value as a detail or a subject, whoever has typed it."""
    try:
        _check_detail("value", value)
    except UnfitEntryError:
        return False
    return True


def own_words(reason: str | None, *, characters_max: int = REASON_CHARACTERS_MAX) -> str | None:
    """Return what somebody wrote as it may be kept: scrubbed, bounded, None when empty.

    PostgreSQL keeps no zero byte, and JSON may bring halves of characters that are no text.
    """
    if reason is None:
        return None
    kept = reason.replace("\0", "").encode("utf-8", "replace").decode().strip()
    return scrub(kept)[:characters_max] or None


def _check_detail(name: str, value: int | str) -> None:
    if not _DETAIL.fullmatch(name):
        message = f"no name for a detail: {scrub(name)[:80]!r}"
        raise UnfitEntryError(message)
    if isinstance(value, str):
        _check_text(name, value)
    elif isinstance(value, bool) or abs(value) > INTEGER_MAX:
        message = f"detail {name} is no number that JSON can say"
        raise UnfitEntryError(message)
    else:
        _check_text(name, str(value))


def _check_text(name: str, value: str) -> None:
    if not value or len(value) > TEXT_CHARACTERS_MAX or not value.isprintable():
        message = f"{name} is not 1 to {TEXT_CHARACTERS_MAX} printable characters"
        raise UnfitEntryError(message)
    if contains_personal(value):
        message = f"{name} holds something personal or secret: {scrub(value)}"
        raise UnfitEntryError(message)
