"""Verify the audit trail: recompute the chain and name the first entry that does not fit it.

Whoever can write to the database can forge the whole chain up to its head. So heads are to be
known elsewhere (a printed page, an auditor's mail, another machine), and are checked against here.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import rfc3339
from wallet.core.database import read
from wallet.ops.audit import FIRST_PREVIOUS_HASH, chain_hash

PAGE: Final = 1_000

_COVERED: Final = (
    "seq", "at_us", "action", "actor", "subject", "reason", "origin", "outcome", "details",
)  # fmt: skip
_READ: Final = text(f"""
SELECT {", ".join(_COVERED)}, previous_hash, hash FROM audit_entry
WHERE seq > :after ORDER BY seq LIMIT :limit
""")  # noqa: S608 - the columns are the constant above
_HEAD: Final = text("SELECT seq, hash FROM audit_head WHERE id = 1")


class StoredEntry(msgspec.Struct, frozen=True):
    """An entry as it stands in the trail; ``fields`` are what its hash covers."""

    fields: Mapping[str, Any]
    previous_hash: bytes
    hash: bytes

    @property
    def seq(self) -> int:
        """The entry's number."""
        return int(self.fields["seq"])

    def as_dict(self) -> dict[str, Any]:
        """Return the entry for an export: enough for anybody to recompute the chain."""
        return {
            **self.fields,
            "at": rfc3339(self.fields["at_us"]),
            "previous_hash": self.previous_hash.hex(),
            "hash": self.hash.hex(),
        }


class Broken(msgspec.Struct, frozen=True):
    """The first entry that does not fit: its number and what is wrong with it."""

    seq: int
    what: str


class AuditReport(msgspec.Struct, frozen=True):
    """How far the trail reaches and, if it is broken, where."""

    entries: int
    head_seq: int
    head_hash: bytes
    broken: Broken | None

    @property
    def ok(self) -> bool:
        """Whether every entry is as it was written and none is missing."""
        return self.broken is None

    def as_dict(self) -> dict[str, Any]:
        """Return the report for ``--json``."""
        return {
            "ok": self.ok,
            "entries": self.entries,
            "head": {"seq": self.head_seq, "hash": self.head_hash.hex()},
            "broken": None if self.broken is None else msgspec.structs.asdict(self.broken),
        }


async def verify_audit(
    engine: AsyncEngine, *, published: Mapping[int, bytes] | None = None
) -> AuditReport:
    """Recompute the trail at one moment of the database.

    ``published`` are hashes by number as they are known from elsewhere.
    """
    known = dict(published or {})
    entries, previous_hash = 0, FIRST_PREVIOUS_HASH
    async with _snapshot(engine) as connection:
        head_seq, head_hash = (await connection.execute(_HEAD)).one()
        async for entry in _entries(connection, after=0):
            what = _fault(entry, entries + 1, previous_hash, known)
            if what is not None:
                return AuditReport(entries, head_seq, head_hash, Broken(entries + 1, what))
            entries, previous_hash = entries + 1, entry.hash
    broken = None
    if (head_seq, head_hash) != (entries, previous_hash):
        broken = Broken(entries + 1, f"the head is of entry {head_seq}, the last one is {entries}")
    elif beyond := [seq for seq in known if not 1 <= seq <= entries]:
        broken = Broken(min(beyond), "its hash was published, and it is not there")
    return AuditReport(entries, head_seq, head_hash, broken)


async def read_entries(
    engine: AsyncEngine, *, after: int = 0, to: int | None = None
) -> AsyncIterator[StoredEntry]:
    """Yield the entries with numbers from ``after + 1`` to ``to``, at one moment, in order."""
    async with _snapshot(engine) as connection:
        async for entry in _entries(connection, after=after):
            if to is not None and entry.seq > to:
                return
            yield entry


def _snapshot(engine: AsyncEngine) -> Any:  # noqa: ANN401 - a context manager of a connection
    return read(
        engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    )


async def _entries(connection: AsyncConnection, *, after: int) -> AsyncIterator[StoredEntry]:
    while True:
        rows = await connection.execute(_READ, {"after": after, "limit": PAGE})
        page = rows.mappings().all()
        for row in page:
            fields = {name: row[name] for name in _COVERED}
            yield StoredEntry(fields, row["previous_hash"], row["hash"])
        if len(page) < PAGE:
            return
        after = page[-1]["seq"]


def _fault(
    entry: StoredEntry, expected_seq: int, previous_hash: bytes, published: Mapping[int, bytes]
) -> str | None:
    """Return what is wrong with the entry that follows one with ``previous_hash``, if anything."""
    if entry.seq != expected_seq:
        return f"missing; the next one is {entry.seq}"
    if entry.previous_hash != previous_hash:
        return "does not follow the entry before it"
    if chain_hash(previous_hash, entry.fields) != entry.hash:
        return "was changed: its hash is another one"
    if published.get(entry.seq, entry.hash) != entry.hash:
        return "is not the one whose hash was published"
    return None
