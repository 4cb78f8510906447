"""Reads of programmes and their drafts, for whoever looks after them."""

import hashlib
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.refusals import RefusedError
from wallet.programmes.life import DraftState, State
from wallet.programmes.terms import ProgrammeDraft, Terms

PAGE_MAX: Final = 100

_DRAFT = """
SELECT id, code, revision, terms, state, written_by, written_at, decided_at, live_on, applied_at,
       refusal
FROM programme_draft
"""
_FIND_DRAFT = text(f"{_DRAFT} WHERE id = :id")
_LOCK_DRAFT = text(f"{_DRAFT} WHERE code = :code AND revision = :revision FOR UPDATE")
_DRAFTS = text(f"""{_DRAFT}
WHERE code = :code AND (CAST(:revision AS integer) IS NULL OR revision = :revision)
ORDER BY revision DESC LIMIT {PAGE_MAX}
""")
_LATEST = text(f"{_DRAFT} WHERE code = :code ORDER BY revision DESC LIMIT 1 FOR UPDATE")

# A suspension is the stop of this programme that is engaged now, and nothing besides it.
_PROGRAMME = """
SELECT p.id, p.number, p.code, p.version, p.state, p.live_on, p.terms, p.created_at,
       s.engaged_at AS suspended_at, s.reason AS suspended_because,
       s.release_requested_by IS NOT NULL AS resuming
FROM programme AS p
LEFT JOIN stop AS s
    ON s.scope = 'programme:' || p.code AND s.released_at IS NULL AND NOT s.drill
"""
_FIND = text(f"{_PROGRAMME} WHERE p.code = :code")
_CODES = text("""
SELECT code FROM programme WHERE code > :after
UNION SELECT code FROM programme_draft WHERE code > :after
ORDER BY code LIMIT :most
""")
_OF_CODES = text(f"{_PROGRAMME} WHERE p.code = ANY(CAST(:codes AS text[]))")
_LATEST_OF_CODES = text("""
SELECT DISTINCT ON (code) code, revision, state, terms ->> 'name' AS name
FROM programme_draft WHERE code = ANY(CAST(:codes AS text[])) ORDER BY code, revision DESC
""")
_VERSIONS = text("""
SELECT version, state, terms, created_at FROM programme_version
WHERE programme_id = :id ORDER BY version DESC LIMIT :most
""")


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A revision that was saved."""

    id: UUID
    code: str
    revision: int
    draft: ProgrammeDraft
    state: DraftState
    written_by: str
    written_at: datetime
    decided_at: datetime | None
    live_on: date | None
    applied_at: datetime | None
    refusal: dict[str, Any] | None

    @property
    def sha256(self) -> str:
        """The hash of the terms, by which two people know that they mean the same."""
        encoded = msgspec.json.encode(self.draft, order="deterministic")
        return hashlib.sha256(encoded).hexdigest()


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A programme as it stands; ``resuming`` when one person has asked to lift its suspension."""

    id: UUID
    number: int
    code: str
    version: int
    state: State
    live_on: date | None
    terms: Terms
    created_at: datetime
    suspended_at: datetime | None
    suspended_because: str | None
    resuming: bool


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """The terms a programme had from ``created_at`` until its next version."""

    version: int
    state: State
    terms: Terms
    created_at: datetime


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One code of a list: the programme, None before there is one, and its latest draft."""

    code: str
    name: str
    programme: Standing | None
    revision: int | None
    draft_state: DraftState | None


async def find_draft(connection: AsyncConnection, draft_id: UUID) -> Draft:
    """Return a revision; raises :class:`RefusedError` ``draft_unknown``."""
    return _draft_of(await _one(connection, _FIND_DRAFT, {"id": draft_id}))


async def lock_draft(connection: AsyncConnection, *, code: str, revision: int) -> Draft:
    """Return a revision that the caller may change; raises as :func:`find_draft` does."""
    return _draft_of(
        await _one(connection, _LOCK_DRAFT, {"code": code, "revision": revision}),
    )


async def lock_latest(connection: AsyncConnection, *, code: str) -> Draft | None:
    """Return the latest revision that the caller may change, None before the first."""
    row = (await connection.execute(_LATEST, {"code": code})).mappings().one_or_none()
    return None if row is None else _draft_of(row)


async def list_drafts(
    connection: AsyncConnection, *, code: str, revision: int | None = None
) -> list[Draft]:
    """Return the revisions of a code, the newest first, :data:`PAGE_MAX` at most; or one."""
    rows = await connection.execute(_DRAFTS, {"code": code, "revision": revision})
    return [_draft_of(row) for row in rows.mappings()]


async def find_programme(connection: AsyncConnection, *, code: str) -> Standing | None:
    """Return a programme, None when there is none of this code."""
    row = (await connection.execute(_FIND, {"code": code})).mappings().one_or_none()
    return None if row is None else _standing(row)


async def list_versions(connection: AsyncConnection, *, programme_id: UUID) -> list[Version]:
    """Return the versions of a programme, the newest first, :data:`PAGE_MAX` at most."""
    rows = await connection.execute(_VERSIONS, {"id": programme_id, "most": PAGE_MAX})
    return [
        Version(
            version=row["version"],
            state=State(row["state"]),
            terms=msgspec.convert(row["terms"], Terms),
            created_at=row["created_at"],
        )
        for row in rows.mappings()
    ]


async def list_programmes(
    connection: AsyncConnection, *, after: str = "", limit: int = PAGE_MAX
) -> list[Line]:
    """Return programmes and drafts in the order of their codes, beyond ``after``."""
    values = {"after": after, "most": min(limit, PAGE_MAX + 1)}
    codes = list((await connection.execute(_CODES, values)).scalars())
    rows = (await connection.execute(_OF_CODES, {"codes": codes})).mappings()
    known = {row["code"]: _standing(row) for row in rows}
    rows = (await connection.execute(_LATEST_OF_CODES, {"codes": codes})).mappings()
    drafts = {row["code"]: row for row in rows}
    return [_line(code, known.get(code), drafts.get(code)) for code in codes]


def _line(code: str, programme: Standing | None, draft: RowMapping | None) -> Line:
    name = "" if draft is None else str(draft["name"])
    return Line(
        code=code,
        name=name if programme is None else programme.terms.name,
        programme=programme,
        revision=None if draft is None else draft["revision"],
        draft_state=None if draft is None else DraftState(draft["state"]),
    )


async def _one(connection: AsyncConnection, statement: Any, values: dict[str, Any]) -> RowMapping:  # noqa: ANN401 - a statement of SQLAlchemy's
    row = (await connection.execute(statement, values)).mappings().one_or_none()
    if row is None:
        raise RefusedError("draft_unknown")
    return row


def _draft_of(row: RowMapping) -> Draft:
    fields = {name: row[name] for name in Draft.__struct_fields__ if name != "draft"}
    fields["state"] = DraftState(row["state"])
    return Draft(draft=msgspec.convert(row["terms"], ProgrammeDraft), **fields)


def _standing(row: RowMapping) -> Standing:
    fields = {name: row[name] for name in Standing.__struct_fields__}
    fields |= {"state": State(row["state"]), "terms": msgspec.convert(row["terms"], Terms)}
    return Standing(**fields)
