"""Verify seals: recompute the chain of hashes and name what no longer fits it.

A row that was changed, removed or added is named as long as the fingerprints beside the hash are
sound; when those were forged as well, the hash still fails and the range is named. Whoever forges
the whole chain up to its head is found out by the heads that were published.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.ledger.findings import FINDINGS_MAX, Check, Finding, Value, snapshot
from wallet.ledger.seal import (
    FINGERPRINT,
    FIRST_PREVIOUS_HASH,
    TRANSFER_BYTES,
    TRANSFERS_MAX,
    Range,
    Seal,
    chain_hash,
    fingerprints,
    read_in_order,
    read_range,
)

PAGE: Final = 200
"""Seals read at a time; their transfers are read together, up to two full ranges of them."""

ADDED_MAX: Final = 1_000
"""How many transfers beyond those that were sealed are read of one range, to name them."""

_SEALS: Final = text("""
SELECT number, from_timestamp, to_timestamp, transfers, previous_hash, hash, sealed_at,
       fingerprints
FROM seal WHERE number > :after ORDER BY number LIMIT :limit
""")
_TIMESTAMPS: Final = text("SELECT id, timestamp FROM transfer WHERE id = ANY(:ids)")


class _Stored(msgspec.Struct, frozen=True):
    """A seal with its fingerprints."""

    seal: Seal
    fingerprints: bytes


class _Tally:
    """Findings of one check: all are counted, the first are kept."""

    def __init__(self) -> None:
        self.problems = 0
        self.findings: list[Finding] = []

    def add(self, kind: str, identifier: object, what: str, stored: Value, computed: Value) -> None:
        """Count one more difference."""
        self.problems += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(kind, str(identifier), what, stored, computed))

    def check(self, name: str, *, looked_at: int) -> Check:
        """Return what came of the check."""
        return Check(name, looked_at, self.problems, self.findings)


class SealReport(msgspec.Struct, frozen=True):
    """How far the chain reaches and what came of checking it."""

    seals: int
    transfers: int
    head: Seal | None
    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        """Whether the chain and everything under it is as it was sealed."""
        return all(check.ok for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for ``--json``."""
        head = self.head
        return {
            "ok": self.ok,
            "seals": self.seals,
            "transfers": self.transfers,
            "head": None if head is None else {"number": head.number, "hash": head.hash.hex()},
            "sealed_before_us": 0 if head is None else head.to_timestamp,
            "checks": [check.as_dict() for check in self.checks],
        }


async def verify_seals(
    engine: AsyncEngine, *, published: Mapping[int, bytes] | None = None
) -> SealReport:
    """Recompute every seal at one moment of the database.

    ``published`` are hashes by number as they are known from elsewhere.
    """
    async with snapshot(engine) as connection:
        return await verify_seals_snapshot(connection, published=published or {})


async def verify_seals_snapshot(
    connection: AsyncConnection, *, published: Mapping[int, bytes]
) -> SealReport:
    """Verify what ``connection``, from :func:`~wallet.ledger.findings.snapshot`, sees."""
    await read_in_order(connection)
    chain, rows = _Tally(), _Tally()
    last: Seal | None = None
    seals = transfers = 0
    while page := await _read_page(connection, after=0 if last is None else last.number):
        for stored in page:
            _check_link(chain, last, stored.seal, published)
            last = stored.seal
        for group in _groups(page):
            await _check_group(connection, rows, group)
        seals += len(page)
        transfers += sum(stored.seal.transfers for stored in page)
    for number in published:
        if last is None or number > last.number:
            chain.add("seal", number, "published hash", None, published[number].hex())
    return SealReport(
        seals,
        transfers,
        last,
        [
            chain.check("seals_form_one_chain", looked_at=seals),
            rows.check("sealed_transfers_are_unchanged", looked_at=transfers),
        ],
    )


async def _read_page(connection: AsyncConnection, *, after: int) -> list[_Stored]:
    rows = await connection.execute(_SEALS, {"after": after, "limit": PAGE})
    return [_Stored(Seal(*row[:-1]), row[-1]) for row in rows]


def _groups(page: Sequence[_Stored]) -> Iterator[list[_Stored]]:
    """Yield the seals in groups whose transfers are read at once."""
    group: list[_Stored] = []
    waiting = 0
    for stored in page:
        group.append(stored)
        waiting += stored.seal.transfers
        if waiting >= TRANSFERS_MAX:
            yield group
            group, waiting = [], 0
    if group:
        yield group


def _check_link(
    chain: _Tally, last: Seal | None, seal: Seal, published: Mapping[int, bytes]
) -> None:
    """Compare a seal with the one before it and with what was published."""
    number = 1 if last is None else last.number + 1
    start = 0 if last is None else last.to_timestamp
    previous_hash = FIRST_PREVIOUS_HASH if last is None else last.hash
    for missing in range(number, min(seal.number, number + FINDINGS_MAX)):
        chain.add("seal", missing, "seal", "missing", "present")
    if seal.from_timestamp != start:
        chain.add("seal", seal.number, "from_timestamp", seal.from_timestamp, start)
    if seal.previous_hash != previous_hash:
        chain.add(
            "seal", seal.number, "previous_hash", seal.previous_hash.hex(), previous_hash.hex()
        )
    known = published.get(seal.number, seal.hash)
    if seal.hash != known:
        chain.add("seal", seal.number, "published hash", seal.hash.hex(), known.hex())


async def _check_group(connection: AsyncConnection, rows: _Tally, group: list[_Stored]) -> None:
    """Recompute the group from one reading; name what differs only if anything does."""
    first, last = group[0].seal, group[-1].seal
    expected = sum(stored.seal.transfers for stored in group)
    found = await read_range(
        connection, first.from_timestamp, last.to_timestamp, limit=expected + 1
    )
    if found.transfers == expected and all(
        _is_sound(stored, part) for stored, part in _split(group, found.encoded)
    ):
        return
    for stored in group:
        await _name(connection, rows, stored)


def _split(group: list[_Stored], encoded: bytes) -> Iterator[tuple[_Stored, Range]]:
    """Yield each seal with its part of the transfers, if every seal has as many as it says."""
    start = 0
    for stored in group:
        end = start + stored.seal.transfers * TRANSFER_BYTES
        part = encoded[start:end]
        yield stored, Range(stored.seal.to_timestamp, stored.seal.transfers, part)
        start = end


def _is_sound(stored: _Stored, found: Range) -> bool:
    """Whether the seal's hash and fingerprints are those of the transfers."""
    return stored.seal.hash == _hash(stored.seal, found) and stored.fingerprints == fingerprints(
        found.encoded
    )


def _hash(seal: Seal, found: Range) -> bytes:
    return chain_hash(seal.previous_hash, seal.number, seal.from_timestamp, found)


async def _name(connection: AsyncConnection, rows: _Tally, stored: _Stored) -> None:
    """Name whatever differs in one range."""
    seal = stored.seal
    limit = seal.transfers + ADDED_MAX
    found = await read_range(connection, seal.from_timestamp, seal.to_timestamp, limit=limit)
    whole = found.transfers < limit
    found = msgspec.structs.replace(found, to_timestamp=seal.to_timestamp)
    now_there = fingerprints(found.encoded)
    if _is_sound(stored, found) and found.transfers == seal.transfers:
        return
    if found.transfers != seal.transfers:
        rows.add("seal", seal.number, "transfers", seal.transfers, found.transfers)
    if _hash(seal, found) != seal.hash:
        rows.add("seal", seal.number, "hash", seal.hash.hex(), _hash(seal, found).hex())
    elif now_there != stored.fingerprints:
        rows.add("seal", seal.number, "fingerprints", "changed", "as the transfers have them")
    before, now = _by_id(stored.fingerprints), _by_id(now_there)
    for transfer_id in sorted(before.keys() & now.keys()):
        if before[transfer_id] != now[transfer_id]:
            what = f"content sealed in {seal.number}"
            rows.add("transfer", transfer_id, what, before[transfer_id], now[transfer_id])
    for transfer_id in sorted(now.keys() - before.keys()):
        rows.add("transfer", transfer_id, f"presence in seal {seal.number}", "absent", "added")
    if whole:
        await _name_removed(connection, rows, seal, before.keys() - now.keys())


async def _name_removed(
    connection: AsyncConnection, rows: _Tally, seal: Seal, removed: set[UUID]
) -> None:
    """Name transfers that are no longer in their range, and where they are now, if anywhere."""
    if not removed:
        return
    found = await connection.execute(_TIMESTAMPS, {"ids": sorted(removed)})
    timestamps = {row.id: row.timestamp for row in found}
    for transfer_id in sorted(removed):
        moved_to = timestamps.get(transfer_id)
        now = "removed" if moved_to is None else f"at timestamp {moved_to}"
        rows.add("transfer", transfer_id, f"presence in seal {seal.number}", "sealed", now)


def _by_id(packed: bytes) -> dict[UUID, str]:
    """Return the hashes of fingerprints by transfer, ragged ends left out."""
    whole = len(packed) - len(packed) % FINGERPRINT.size
    return {
        UUID(bytes=identifier): digest.hex()
        for identifier, digest in FINGERPRINT.iter_unpack(packed[:whole])
    }
