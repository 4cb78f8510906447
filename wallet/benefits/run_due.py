"""What the worker does for benefits: opens runs that were approved, grants, lapses, takes back.

Every step is bounded and may be done by several workers at once; what one has locked is left to
it, or found done.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, Final, Self
from uuid import UUID

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.benefits.claw_back import CLAW_BACK, TakenBack
from wallet.benefits.grant import GRANT, Given, HeldUp
from wallet.core.clock import Clock, japanese_day, to_datetime
from wallet.core.database import connect, read, write
from wallet.ledger.rules import NIL
from wallet.ledger.teller import Teller
from wallet.ledger.work import Work

GRANTS_PER_BATCH: Final = 200
"""Granted in one transaction: its wallets cannot pay meanwhile, and that must not be noticed."""

GRANTS_PER_S_MAX: Final = 3_600
"""A city of 70,000 is given to in twenty seconds; faster would be felt at the till."""

REST_RATIO: Final = 0.4
"""How long the worker rests after a batch at least, of the time that it took: whoever pays has the
cores then, and on a busy machine, where batches take longer, rests are longer too."""

BATCHES_PER_READ: Final = 10

ROUND_S: Final = 20.0
"""How long one round grants; the rest of the worker's work waits for it."""

ROWS_PER_STATEMENT: Final = 5_000

_RUNS: Final = text("""
SELECT id FROM benefit_run
WHERE state = 'approved' AND paused_at IS NULL ORDER BY approved_at, id
""")

# Whoever is known gets theirs into their oldest wallet; everybody else is offered it. What goes
# out on paper or to a bank, or on a card that is nobody's yet, leaves this house another way.
_OPEN: Final = text("""
WITH drafts AS (
    SELECT g.id, g.delivery, coalesce(g.wallet_id, (
        SELECT w.id FROM beneficiary AS b JOIN wallet AS w ON w.person_id = b.person_id
        WHERE b.beneficiary_hash = g.beneficiary_hash AND w.state <> 'closed'
        ORDER BY w.opened_at, w.id LIMIT 1)) AS wallet_id
    FROM benefit_grant AS g
    WHERE g.run_id = :run_id AND g.state = 'draft'
    ORDER BY g.row_number LIMIT :most FOR NO KEY UPDATE OF g SKIP LOCKED
)
UPDATE benefit_grant AS g
SET wallet_id = CASE WHEN d.delivery IN ('wallet', 'card') THEN d.wallet_id END,
    state = CASE WHEN d.delivery IN ('paper', 'bank') THEN 'elsewhere'
                 WHEN d.wallet_id IS NOT NULL THEN 'due'
                 WHEN d.delivery = 'card' THEN 'elsewhere' ELSE 'offered' END,
    due_at = CASE WHEN d.delivery IN ('wallet', 'card') AND d.wallet_id IS NOT NULL
                  THEN CAST(:now AS timestamptz) END
FROM drafts AS d WHERE g.id = d.id
""")

_LAPSE: Final = text("""
UPDATE benefit_grant SET state = 'lapsed', due_at = NULL
WHERE id = ANY (ARRAY(
    SELECT g.id FROM benefit_run AS r JOIN benefit_grant AS g ON g.run_id = r.id
    WHERE r.state = 'approved' AND r.claim_until < :day
      AND (g.state = 'offered' OR g.state = 'due' AND g.because IS NOT NULL)
    LIMIT :most FOR NO KEY UPDATE OF g SKIP LOCKED))
""")

_FINISH: Final = text("""
UPDATE benefit_run AS r SET state = 'done', finished_at = :now
WHERE r.state = 'approved' AND NOT EXISTS (
    SELECT FROM benefit_grant AS g
    WHERE g.run_id = r.id AND g.state IN ('draft', 'offered', 'due'))
""")

# Beyond the last one that was asked for: what is before it leaves dead entries in the index, and to
# step over them again and again would take longer the further a run is.
_DUE: Final = text("""
SELECT due_at, id FROM benefit_grant
WHERE run_id = :run_id AND state = 'due' AND due_at <= :now
  AND (due_at, id) > (:last_at, CAST(:last_id AS uuid))
ORDER BY due_at, id LIMIT :most
""")

_BEGINNING: Final = (to_datetime(0), UUID(int=0))

_DUE_BACK: Final = text("""
SELECT id FROM benefit_claw_back WHERE state = 'due' AND id > :after ORDER BY id LIMIT :most
""")


class Worked(msgspec.Struct):
    """What one round has done."""

    opened: int = 0
    granted: int = 0
    held_up: int = 0
    lapsed: int = 0
    taken_back: int = 0

    def add(self, other: "Worked") -> None:
        """Add what another round has done."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


async def run_due(
    engine: AsyncEngine,
    database_url: str,
    clock: Clock,
    *,
    round_s: float = ROUND_S,
    on_granted: Callable[[int], object] = lambda _: None,
) -> Worked:
    """Do what is due, granting for about ``round_s`` seconds, and return what was done.

    ``on_granted`` hears how many more are granted. A stop ends the granting of this round.
    """
    worked = Worked()
    day = japanese_day(clock())
    worked.lapsed = await _repeat(engine, _LAPSE, {"day": day})
    async with read(engine) as connection:
        runs = list((await connection.execute(_RUNS)).scalars())
        has_back = (
            await connection.execute(_DUE_BACK, {"after": NIL, "most": 1})
        ).first() is not None
    now = to_datetime(clock())
    for run_id in runs:
        worked.opened += await _repeat(engine, _OPEN, {"run_id": run_id, "now": now})
    if has_back or await _has_due(engine, runs, clock):
        async with _Granting(engine, database_url, clock) as granting:
            await granting.take_back(worked)
            await granting.grant(runs, worked, round_s=round_s, on_granted=on_granted)
    if runs:
        finish = {"now": to_datetime(clock())}
        await write(engine, lambda connection: connection.execute(_FINISH, finish))
    return worked


class _Granting:
    """A teller of one lane whose batches are small enough for whoever pays beside them."""

    def __init__(self, engine: AsyncEngine, database_url: str, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._teller = Teller(
            connect=lambda: connect(database_url, application_name="wallet-benefits"),
            clock=clock,
            lanes=1,
            batch_max=GRANTS_PER_BATCH,
            queue_max=2 * GRANTS_PER_BATCH,
        )

    async def __aenter__(self) -> Self:
        await self._teller.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._teller.close()

    async def grant(
        self,
        runs: Sequence[UUID],
        worked: Worked,
        *,
        round_s: float,
        on_granted: Callable[[int], object],
    ) -> None:
        """Grant run after run until nothing is due, the time is over, or a stop says no."""
        ends = monotonic() + round_s
        for run_id in runs:
            last = _BEGINNING
            while monotonic() < ends and (due := await self._due(run_id, last)):
                last = due[-1]
                answers = await self._grant([grant_id for _, grant_id in due], on_granted)
                worked.granted += sum(_is_new(one) for one in answers)
                worked.held_up += sum(_is_held_up(one) for one in answers)
                if not any(_is_new(one) or _is_held_up(one) for one in answers):
                    break  # Paused, stopped, or another worker's.

    async def _grant(
        self, ids: Sequence[UUID], on_granted: Callable[[int], object]
    ) -> list[Given | HeldUp]:
        answers: list[Given | HeldUp] = []
        for start in range(0, len(ids), GRANTS_PER_BATCH):
            begun = monotonic()
            batch = await self._submit(GRANT, ids[start : start + GRANTS_PER_BATCH])
            answers += batch
            on_granted(sum(_is_new(one) for one in batch))
            took_s = monotonic() - begun
            await asyncio.sleep(max(REST_RATIO * took_s, len(batch) / GRANTS_PER_S_MAX - took_s))
        return answers

    async def take_back(self, worked: Worked) -> None:
        """Take back what is due, each once; a stop or a hold leaves it due."""
        after = NIL
        for _ in range(BATCHES_PER_READ):
            values = {"after": after, "most": GRANTS_PER_BATCH}
            async with read(self._engine) as connection:
                ids = list((await connection.execute(_DUE_BACK, values)).scalars())
            if not ids:
                break
            answers = await self._submit(CLAW_BACK, ids)
            worked.taken_back += sum(isinstance(one, TakenBack) for one in answers)
            after = ids[-1]  # What waits must not keep what comes after it waiting.

    async def _due(self, run_id: UUID, last: tuple[datetime, UUID]) -> list[tuple[datetime, UUID]]:
        async with read(self._engine) as connection:
            most = BATCHES_PER_READ * GRANTS_PER_BATCH
            return await _find_due(connection, run_id, last, self._clock, most=most)

    async def _submit(self, work: Work, ids: Sequence[UUID]) -> list[Any]:
        return list(await asyncio.gather(*[self._teller.submit(work, one) for one in ids]))


def _is_new(answer: Given | HeldUp) -> bool:
    """Whether a grant was made just now."""
    return isinstance(answer, Given) and not answer.replayed


def _is_held_up(answer: Given | HeldUp) -> bool:
    """Whether a grant is now to be tried again later, as against one that nothing was done to."""
    untouched = {"benefit_run_paused", "service_stopped", "benefit_grant_unknown"}
    return isinstance(answer, HeldUp) and answer.refusal.code not in untouched


async def _has_due(engine: AsyncEngine, runs: Sequence[UUID], clock: Clock) -> bool:
    async with read(engine) as connection:
        for run_id in runs:
            if await _find_due(connection, run_id, _BEGINNING, clock, most=1):
                return True
    return False


async def _find_due(
    connection: AsyncConnection,
    run_id: UUID,
    last: tuple[datetime, UUID],
    clock: Clock,
    *,
    most: int,
) -> list[tuple[datetime, UUID]]:
    """Return what of a run is due now, beyond the last one that was asked for."""
    values = {
        "run_id": run_id,
        "now": to_datetime(clock()),
        "last_at": last[0],
        "last_id": last[1],
        "most": most,
    }
    return [(row[0], row[1]) for row in await connection.execute(_DUE, values)]


async def _repeat(engine: AsyncEngine, statement: TextClause, values: dict[str, Any]) -> int:
    """Run a statement until it finds nothing more, a bounded number of rows at a time."""
    total = 0
    bounded = {**values, "most": ROWS_PER_STATEMENT}

    async def work(connection: AsyncConnection) -> int:
        return (await connection.execute(statement, bounded)).rowcount

    while done := await write(engine, work):
        total += done
    return total
