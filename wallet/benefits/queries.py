"""Reads of runs for the office: how far they are, what they would do, their rows one by one."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.refusals import RefusedError

ERRORS_SHOWN_MAX: Final = 100

_COLUMNS: Final = """
r.id, p.code AS programme, p.terms->>'name' AS name, r.period, r.file_hash, r.rows_total,
r.claim_until, r.state, r.paused_at, r.imported_by, r.imported_at, r.approved_at, r.finished_at,
r.programme_id, p.budget_account_id
"""

_RUN: Final = text(f"""
SELECT {_COLUMNS} FROM benefit_run AS r JOIN programme AS p ON p.id = r.programme_id
WHERE r.id = :id
""")  # noqa: S608 - our columns

_LOCK: Final = text("SELECT id FROM benefit_run WHERE id = :id FOR NO KEY UPDATE")

_LIST: Final = text(f"""
SELECT {_COLUMNS} FROM benefit_run AS r JOIN programme AS p ON p.id = r.programme_id
WHERE r.id < CAST(:before AS uuid) ORDER BY r.id DESC LIMIT :most
""")  # noqa: S608 - as above

_STATES: Final = text("""
SELECT state, delivery, count(*)::int AS count, sum(amount_yen)::bigint AS amount_yen,
       sum(returned_yen)::bigint AS returned_yen,
       count(*) FILTER (WHERE protected)::int AS protected
FROM benefit_grant WHERE run_id = :id GROUP BY 1, 2 ORDER BY 1, 2
""")

_REFUSED: Final = text("""
SELECT count(DISTINCT row_number)::int FROM benefit_row_error WHERE run_id = :id
""")

_ERRORS: Final = text("""
SELECT row_number, field, code FROM benefit_row_error
WHERE run_id = :id ORDER BY row_number, field LIMIT :most
""")

_BUDGET: Final = text("""
SELECT b.credits_posted - b.debits_posted - b.debits_pending AS left_yen,
       (SELECT coalesce(sum(g.amount_yen), 0)::bigint
        FROM benefit_run AS r JOIN benefit_grant AS g ON g.run_id = r.id
        WHERE r.programme_id = :programme_id AND r.state = 'approved'
          AND g.state IN ('draft', 'offered', 'due')
          AND g.delivery IN ('wallet', 'card')) AS promised_yen
FROM balance AS b WHERE b.account_id = :account_id
""")

_KNOWN: Final = text("""
SELECT count(*)::int FROM benefit_grant AS g
WHERE g.run_id = :id AND g.delivery IN ('wallet', 'card')
  AND (g.wallet_id IS NOT NULL OR EXISTS (
      SELECT FROM beneficiary AS b WHERE b.beneficiary_hash = g.beneficiary_hash))
""")

# A row that was left out has no grant, and one that has a grant has no errors.
_ROWS: Final = text("""
SELECT row_number, state, because, amount_yen, returned_yen, owed_yen, granted_at, errors FROM (
    SELECT g.row_number, g.state, g.because, g.amount_yen, g.returned_yen,
           (SELECT coalesce(sum(o.amount_yen), 0)::bigint FROM benefit_claw_back AS c
            JOIN benefit_receivable AS o ON o.claw_back_id = c.id
            WHERE c.grant_id = g.id) AS owed_yen,
           g.granted_at, CAST(NULL AS text) AS errors
    FROM benefit_grant AS g WHERE g.run_id = :id AND g.row_number > :after
    UNION ALL
    SELECT e.row_number, 'refused', NULL, NULL, NULL, NULL, NULL,
           string_agg(e.field || ':' || e.code, ' ' ORDER BY e.field)
    FROM benefit_row_error AS e WHERE e.run_id = :id AND e.row_number > :after
    GROUP BY e.row_number
) AS listed ORDER BY row_number LIMIT :most
""")

_UNCLAIMED: Final = text("""
SELECT id, row_number, amount_yen, state, protected, code_mac IS NOT NULL AS was_written_to,
       code_failures >= 5 AS code_is_dead
FROM benefit_grant
WHERE run_id = :id AND state IN ('offered', 'lapsed') AND row_number > :after
ORDER BY row_number LIMIT :most
""")

_LAST: Final = UUID(int=2**128 - 1)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A roster that was imported, and where it stands."""

    id: UUID
    programme: str
    name: str
    period: str
    file_hash: bytes
    rows_total: int
    claim_until: date
    state: str
    paused_at: datetime | None
    imported_by: UUID
    imported_at: datetime
    approved_at: datetime | None
    finished_at: datetime | None
    programme_id: UUID
    budget_account_id: UUID


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The grants of a run that are in one state and go one way."""

    state: str
    delivery: str
    count: int
    amount_yen: int
    returned_yen: int
    protected: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What a run comes to. ``budget_left_yen`` is what no approved run has been promised yet.

    ``known`` are those who would get theirs without claiming it.
    """

    groups: list[Group]
    refused: int
    known: int
    budget_left_yen: int

    @property
    def accepted(self) -> int:
        """How many rows became grants."""
        return sum(group.count for group in self.groups)

    @property
    def amount_yen(self) -> int:
        """All grants of the run together, whichever way they go."""
        return sum(group.amount_yen for group in self.groups)

    @property
    def budget_yen(self) -> int:
        """What of it comes from the programme's budget here, and not elsewhere."""
        return sum(one.amount_yen for one in self.groups if one.delivery in {"wallet", "card"})

    @property
    def fits(self) -> bool:
        """Whether the budget suffices for all of a run that is not approved yet."""
        return self.budget_yen <= self.budget_left_yen


class RowResult(msgspec.Struct, frozen=True):
    """What became of one row; ``errors`` as ``field:code``, several with a blank between.

    ``returned_yen`` went back to the budget; ``owed_yen`` was to go back and had been spent.
    """

    row_number: int
    state: str
    because: str | None
    amount_yen: int | None
    returned_yen: int | None
    owed_yen: int | None
    granted_at: datetime | None
    errors: str | None


class Unclaimed(msgspec.Struct, frozen=True, kw_only=True):
    """A grant that nobody has claimed, for those who follow up; never by post if ``protected``."""

    id: UUID
    row_number: int
    amount_yen: int
    state: str
    protected: bool
    was_written_to: bool
    code_is_dead: bool


async def find_run(connection: AsyncConnection, run_id: UUID) -> Run:
    """Return a run; raises :class:`RefusedError` ``benefit_run_unknown``."""
    row = (await connection.execute(_RUN, {"id": run_id})).mappings().one_or_none()
    if row is None:
        raise RefusedError("benefit_run_unknown")
    return Run(**row)


async def lock_run(connection: AsyncConnection, run_id: UUID) -> Run:
    """Return a run, locked until the transaction ends; raises as :func:`find_run` does."""
    await connection.execute(_LOCK, {"id": run_id})
    return await find_run(connection, run_id)


async def list_runs(connection: AsyncConnection, *, before: UUID | None, limit: int) -> list[Run]:
    """Return runs, the newest first."""
    values = {"before": before or _LAST, "most": limit}
    return [Run(**row) for row in (await connection.execute(_LIST, values)).mappings()]


async def add_up(connection: AsyncConnection, run: Run) -> Totals:
    """Return what a run comes to, or would come to."""
    groups = [
        Group(**row) for row in (await connection.execute(_STATES, {"id": run.id})).mappings()
    ]
    budget = (
        await connection.execute(
            _BUDGET, {"programme_id": run.programme_id, "account_id": run.budget_account_id}
        )
    ).one()
    return Totals(
        groups=groups,
        refused=(await connection.execute(_REFUSED, {"id": run.id})).scalar_one(),
        known=(await connection.execute(_KNOWN, {"id": run.id})).scalar_one(),
        budget_left_yen=budget.left_yen - budget.promised_yen,
    )


async def list_errors(connection: AsyncConnection, run_id: UUID) -> Sequence[tuple[int, str, str]]:
    """Return the first :data:`ERRORS_SHOWN_MAX` things that are wrong with rows."""
    values = {"id": run_id, "most": ERRORS_SHOWN_MAX}
    return [(row[0], row[1], row[2]) for row in await connection.execute(_ERRORS, values)]


async def list_rows(
    connection: AsyncConnection, run_id: UUID, *, after: int, limit: int
) -> list[RowResult]:
    """Return what became of the rows after a row, in their order."""
    values = {"id": run_id, "after": after, "most": limit}
    return [RowResult(*row) for row in await connection.execute(_ROWS, values)]


async def list_unclaimed(
    connection: AsyncConnection, run_id: UUID, *, after: int, limit: int
) -> list[Unclaimed]:
    """Return the grants after a row that are offered, or were until it was too late."""
    values = {"id": run_id, "after": after, "most": limit}
    return [Unclaimed(**row) for row in (await connection.execute(_UNCLAIMED, values)).mappings()]
