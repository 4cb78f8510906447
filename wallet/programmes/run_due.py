"""What the worker does for programmes: drafts become programmes, and the calendar moves them on.

Any number of workers may run. Ids are numbered after the draft's, and a state only moves where it
still is what it was, so the same work is done once.
"""

from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core import outbox
from wallet.core.clock import Clock, japanese_day, to_datetime
from wallet.core.database import read, write
from wallet.core.ids import numbered_id
from wallet.core.refusals import Refusal, RefusedError
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.teller import Teller
from wallet.programmes.create_programme import create_programme
from wallet.programmes.life import State
from wallet.programmes.revise_programme import REVISE, Revised, ReviseProgramme
from wallet.programmes.terms import ProgrammeDraft

DRAFTS_PER_ROUND: Final = 20

# A new programme is made at once, so that its campaign can be prepared; a new version of one that
# people already hold waits for its day.
_DUE: Final = text("""
SELECT d.id, d.terms, d.live_on, p.id IS NOT NULL AS exists
FROM programme_draft AS d LEFT JOIN programme AS p ON p.code = d.code
WHERE d.state = 'approved' AND d.live_on IS NOT NULL AND d.applied_at IS NULL
  AND d.refusal IS NULL AND (p.id IS NULL OR p.state = 'scheduled' OR d.live_on <= :today)
ORDER BY d.id LIMIT :most
""")
_ANY_DUE: Final = text("""
SELECT EXISTS (
    SELECT FROM programme WHERE state = 'scheduled' AND live_on <= :today
       OR state = 'live' AND (terms -> 'spending' ->> 'last_day')::date < :today
)
""")
# Whoever comes second to the same draft writes nothing, and tells nobody.
_APPLIED: Final = text("""
UPDATE programme_draft SET applied_at = :now, refusal = NULL
WHERE id = :id AND applied_at IS NULL
""")
_REFUSED: Final = text("""
UPDATE programme_draft SET refusal = CAST(:refusal AS jsonb)
WHERE id = :id AND applied_at IS NULL AND refusal IS NULL
""")
_BEGIN: Final = text("""
UPDATE programme SET state = 'live', version = version + 1, changed_at = :now
WHERE state = 'scheduled' AND live_on <= :today RETURNING id, code
""")
_END: Final = text("""
UPDATE programme SET state = 'ended', version = version + 1, changed_at = :now
WHERE state = 'live' AND (terms -> 'spending' ->> 'last_day')::date < :today RETURNING id, code
""")


class Done(msgspec.Struct, frozen=True):
    """What a round has done: drafts applied or refused, programmes that began and ended."""

    applied: int
    refused: int
    began: int
    ended: int


class _Due(msgspec.Struct, frozen=True):
    id: UUID
    draft: ProgrammeDraft
    live_on: date
    exists: bool


async def run_due(engine: AsyncEngine, database_url: str, clock: Clock) -> Done | None:
    """Do what is due, if anything is; no teller is opened for nothing."""
    if not await is_due(engine, now_us=clock()):
        return None
    async with bulk_teller(database_url, clock=clock) as teller:
        return await apply_due(engine, teller, now_us=clock())


async def apply_due(engine: AsyncEngine, teller: Teller, *, now_us: int) -> Done:
    """Apply the drafts that are due, :data:`DRAFTS_PER_ROUND` at most, and move states on."""
    applied = refused = 0
    for due in await _find_due(engine, now_us=now_us):
        refusal = await _apply(teller, due, now_us)
        if refusal is not None and refusal.code == "service_stopped":
            break  # It goes on once money flows again.
        await _note(engine, due, refusal, now_us)
        applied += refusal is None
        refused += refusal is not None
    began, ended = await move_on(engine, now_us=now_us)
    return Done(applied, refused, began, ended)


async def is_due(engine: AsyncEngine, *, now_us: int) -> bool:
    """Whether there is anything to do."""
    today = japanese_day(now_us)
    async with read(engine) as connection:
        drafts = (await connection.execute(_DUE, {"today": today, "most": 1})).first()
        if drafts is not None:
            return True
        return bool((await connection.execute(_ANY_DUE, {"today": today})).scalar_one())


async def move_on(engine: AsyncEngine, *, now_us: int) -> tuple[int, int]:
    """Let begin what begins by now and end what has ended; return how many of each."""
    values = {"today": japanese_day(now_us), "now": to_datetime(now_us)}

    async def work(connection: AsyncConnection) -> tuple[int, int]:
        began = (await connection.execute(_BEGIN, values)).mappings().all()
        ended = (await connection.execute(_END, values)).mappings().all()
        for state, rows in ((State.LIVE, began), (State.ENDED, ended)):
            for row in rows:
                body = {"programme_id": row["id"], "programme": row["code"]}
                kind = f"programme.{state}"
                await outbox.tell(connection, kind=kind, body=body, now_us=now_us)
        return len(began), len(ended)

    return await write(engine, work)


async def _find_due(engine: AsyncEngine, *, now_us: int) -> list[_Due]:
    """Return the drafts that are due; of each code the first, for it may make the programme."""
    async with read(engine) as connection:
        values = {"today": japanese_day(now_us), "most": DRAFTS_PER_ROUND}
        rows = (await connection.execute(_DUE, values)).mappings().all()
    found: dict[str, _Due] = {}
    for row in rows:
        draft = msgspec.convert(row["terms"], ProgrammeDraft)
        found.setdefault(draft.code, _Due(row["id"], draft, row["live_on"], row["exists"]))
    return list(found.values())


async def _apply(teller: Teller, due: _Due, now_us: int) -> Refusal | None:
    if due.exists:
        request = ReviseProgramme(due.draft, numbered_id(due.id, 4), due.live_on)
        answer: Revised | Refusal = await teller.submit(REVISE, request)
        return answer if isinstance(answer, Refusal) else None
    try:
        await create_programme(
            teller, draft=due.draft, now_us=now_us, root_id=due.id, live_on=due.live_on
        )
    except RefusedError as error:
        return error.refusal
    return None


async def _note(engine: AsyncEngine, due: _Due, refusal: Refusal | None, now_us: int) -> None:
    """Write what became of a draft; a refused one waits for who scheduled it."""
    body: dict[str, Any] = {"draft_id": due.id, "programme": due.draft.code}
    values: dict[str, Any] = {"id": due.id}
    if refusal is None:
        statement, kind = _APPLIED, "programme.applied"
        values["now"] = to_datetime(now_us)
    else:
        statement, kind = _REFUSED, "programme.refused"
        body["code"] = refusal.code
        told = {"code": refusal.code, **refusal.facts}
        values["refusal"] = msgspec.json.encode(told).decode()

    async def work(connection: AsyncConnection) -> None:
        if (await connection.execute(statement, values)).rowcount:
            await outbox.tell(connection, kind=kind, body=body, now_us=now_us)

    await write(engine, work)
