"""Import a roster: a run with a grant for every row that can be accepted, and nothing given yet.

The same file for the same programme and period is the same run, however often it comes. Whoever
has a grant of the period already, from whichever file, is left out and named by the row.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.benefits.read_roster import Roster
from wallet.benefits.rules import PERIOD_FORMAT, RosterRow, RowError
from wallet.benefits.secrets import beneficiary_hash, birth_mac
from wallet.core.clock import japanese_day, to_datetime
from wallet.core.ids import align_id, new_id
from wallet.core.refusals import RefusedError

ROWS_PER_STATEMENT: Final = 5_000

_PROGRAMME: Final = text("""
SELECT id, coalesce(jsonb_typeof(terms->'frame') = 'object', false) AS has_frame,
       CAST(terms->'spending'->>'last_day' AS date) AS last_day
FROM programme WHERE code = :code
""")

_INSERT_RUN: Final = text("""
INSERT INTO benefit_run (id, programme_id, period, file_hash, rows_total, claim_until, state,
                         imported_by, imported_at)
VALUES (:id, :programme_id, :period, :file_hash, :rows_total, :claim_until, 'draft',
        :imported_by, :now)
ON CONFLICT (programme_id, period, file_hash) WHERE state <> 'withdrawn' DO NOTHING
""")

_FIND_RUN: Final = text("""
SELECT id FROM benefit_run
WHERE programme_id = :programme_id AND period = :period AND file_hash = :file_hash
  AND state <> 'withdrawn'
""")

_WALLETS: Final = text("""
SELECT id FROM wallet WHERE id = ANY(CAST(:ids AS uuid[])) AND state <> 'closed'
""")

# A beneficiary who has a grant of the period leaves its row out; the caller sees which are missing.
_INSERT_GRANTS: Final = text("""
INSERT INTO benefit_grant (id, run_id, row_number, programme_id, period, beneficiary_hash,
                           guardian_hash, birth_mac, amount_yen, reason_code, delivery, protected,
                           state, wallet_id)
SELECT new.id, :run_id, new.row_number, :programme_id, :period, new.beneficiary, new.guardian,
       new.birth, new.amount_yen, new.reason_code, new.delivery, new.protected, 'draft',
       new.wallet_id
FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS int[]), CAST(:beneficiaries AS bytea[]),
            CAST(:guardians AS bytea[]), CAST(:births AS bytea[]), CAST(:amounts AS bigint[]),
            CAST(:reasons AS text[]), CAST(:deliveries AS text[]), CAST(:protected AS boolean[]),
            CAST(:wallet_ids AS uuid[]))
     AS new (id, row_number, beneficiary, guardian, birth, amount_yen, reason_code, delivery,
             protected, wallet_id)
ON CONFLICT DO NOTHING
RETURNING row_number
""")

_INSERT_ERRORS: Final = text("""
INSERT INTO benefit_row_error (run_id, row_number, field, code)
SELECT :run_id, new.row_number, new.field, new.code
FROM unnest(CAST(:numbers AS int[]), CAST(:fields AS text[]), CAST(:codes AS text[]))
     AS new (row_number, field, code)
""")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a roster is for: the programme's code, the period it counts for, the last day to claim.

    ``period`` is a word of the office's such as ``2026-1``: one grant in it for each beneficiary.
    """

    programme: str
    period: str
    claim_until: date


class Imported(msgspec.Struct, frozen=True):
    """The run there is now; ``new`` is False when the same file had made it before."""

    run_id: UUID
    new: bool


async def import_roster(
    connection: AsyncConnection,
    *,
    wanted: Wanted,
    roster: Roster,
    imported_by: UUID,
    pepper: bytes,
    now_us: int,
) -> Imported:
    """Write a run for a roster that was read, or find the one of the same file.

    Raises :class:`RefusedError` ``benefit_programme_unknown``, also for one whose money is bought,
    ``benefit_period_invalid`` and ``benefit_claim_until_invalid``.
    """
    programme_id = await _check(connection, wanted, japanese_day(now_us))
    run_id = new_id(now_us=now_us)
    values: dict[str, Any] = {
        "id": run_id,
        "programme_id": programme_id,
        "period": wanted.period,
        "file_hash": roster.file_hash,
    }
    run = {
        **values,
        "rows_total": roster.rows_total,
        "claim_until": wanted.claim_until,
        "imported_by": imported_by,
        "now": to_datetime(now_us),
    }
    if (await connection.execute(_INSERT_RUN, run)).rowcount == 0:
        known: UUID = (await connection.execute(_FIND_RUN, values)).scalar_one()
        return Imported(known, new=False)
    errors = list(roster.errors)
    for start in range(0, len(roster.rows), ROWS_PER_STATEMENT):
        chunk = roster.rows[start : start + ROWS_PER_STATEMENT]
        errors += await _insert(connection, chunk, values, pepper, now_us)
    await _insert_errors(connection, run_id, errors)
    return Imported(run_id, new=True)


async def _check(connection: AsyncConnection, wanted: Wanted, day: date) -> UUID:
    if not PERIOD_FORMAT.fullmatch(wanted.period):
        raise RefusedError("benefit_period_invalid")
    row = (await connection.execute(_PROGRAMME, {"code": wanted.programme})).one_or_none()
    if row is None or row.has_frame:
        raise RefusedError("benefit_programme_unknown")
    if not day <= wanted.claim_until <= row.last_day:
        raise RefusedError("benefit_claim_until_invalid", last_day=row.last_day)
    programme_id: UUID = row.id
    return programme_id


async def _insert(
    connection: AsyncConnection,
    rows: Sequence[RosterRow],
    run: Mapping[str, Any],
    pepper: bytes,
    now_us: int,
) -> list[RowError]:
    """Insert the rows that name no closed or unknown wallet; return which were left out."""
    named = {row.wallet_id for row in rows if row.wallet_id is not None}
    known = set((await connection.execute(_WALLETS, {"ids": list(named)})).scalars())
    errors = [
        RowError(row.row_number, "beneficiary_ref", "wallet_unknown")
        for row in rows
        if row.wallet_id is not None and row.wallet_id not in known
    ]
    lost = {error.row_number for error in errors}
    kept = [row for row in rows if row.row_number not in lost]
    values = {**run, **_columns(kept, pepper, now_us), "run_id": run["id"]}
    inserted = set((await connection.execute(_INSERT_GRANTS, values)).scalars())
    return errors + [
        RowError(row.row_number, "beneficiary_ref", "duplicate_across_runs")
        for row in kept
        if row.row_number not in inserted
    ]


def _columns(rows: Sequence[RosterRow], pepper: bytes, now_us: int) -> dict[str, list[Any]]:
    ids = [align_id(new_id(now_us=now_us)) for _ in rows]
    return {
        "ids": ids,
        "numbers": [row.row_number for row in rows],
        "beneficiaries": [beneficiary_hash(row.beneficiary_ref, pepper=pepper) for row in rows],
        "guardians": [
            None if row.guardian_ref is None else beneficiary_hash(row.guardian_ref, pepper=pepper)
            for row in rows
        ],
        "births": [
            birth_mac(grant_id, row.birthdate, pepper=pepper)
            for grant_id, row in zip(ids, rows, strict=True)
        ],
        "amounts": [row.amount_yen for row in rows],
        "reasons": [row.reason_code for row in rows],
        "deliveries": [row.delivery for row in rows],
        "protected": [row.protected for row in rows],
        "wallet_ids": [row.wallet_id for row in rows],
    }


async def _insert_errors(
    connection: AsyncConnection, run_id: UUID, errors: Sequence[RowError]
) -> None:
    for start in range(0, len(errors), ROWS_PER_STATEMENT):
        chunk = errors[start : start + ROWS_PER_STATEMENT]
        await connection.execute(
            _INSERT_ERRORS,
            {
                "run_id": run_id,
                "numbers": [error.row_number for error in chunk],
                "fields": [error.field for error in chunk],
                "codes": [error.code for error in chunk],
            },
        )
