"""What the worker gives: bonuses for events, and those whose day has come."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import Clock, japanese_day
from wallet.core.database import read
from wallet.ledger.bulk import bulk_teller
from wallet.payments.grant_bonus import GRANT, GrantBonus, Granted
from wallet.payments.vest_bonus import VEST, VestBonus, Vested

PAGE: Final = 250
"""Settled together: few enough that a payment of one of their wallets does not wait for long."""

PAGES_MAX: Final = 40
"""Of each kind in one round; the rest follow in the next."""

_DUE: Final = text("""
SELECT id, wallet_id FROM bonus_due
WHERE decided_at IS NULL AND id > :after ORDER BY id LIMIT :most
""")

_VESTING: Final = text("""
SELECT id, wallet_id FROM bonus_grant
WHERE state = 'pending' AND usable_on <= :day AND id > :after ORDER BY id LIMIT :most
""")

_FIRST: Final = UUID(int=0)


async def run_due(engine: AsyncEngine, database_url: str, clock: Clock) -> int:
    """Give what is due and return how many bonuses and events that were.

    Any number of processes may do it, as often as they like: each is decided once. What a stop
    holds up is passed over.
    """
    due = await _find(engine, _DUE, _FIRST, clock)
    vesting = await _find(engine, _VESTING, _FIRST, clock)
    if not due and not vesting:
        return 0
    async with bulk_teller(database_url, clock=clock) as teller:

        async def grant(due_id: UUID, wallet_id: UUID) -> Granted | None:
            answer: Granted | None = await teller.submit(GRANT, GrantBonus(due_id, wallet_id))
            return answer

        async def vest(grant_id: UUID, wallet_id: UUID) -> Vested | None:
            answer: Vested | None = await teller.submit(VEST, VestBonus(grant_id, wallet_id))
            return answer

        granted = await _give_all(engine, _DUE, grant, due, clock)
        return granted + await _give_all(engine, _VESTING, vest, vesting, clock)


async def _give_all(
    engine: AsyncEngine,
    statement: TextClause,
    give: Callable[[UUID, UUID], Awaitable[Granted | Vested | None]],
    page: list[tuple[UUID, UUID]],
    clock: Clock,
) -> int:
    done = 0
    for _ in range(PAGES_MAX):
        if not page:
            break
        answers = await asyncio.gather(*[give(one, wallet_id) for one, wallet_id in page])
        done += sum(answer is not None for answer in answers)
        page = await _find(engine, statement, page[-1][0], clock)
    return done


async def _find(
    engine: AsyncEngine, statement: TextClause, after: UUID, clock: Clock
) -> list[tuple[UUID, UUID]]:
    """Return the next ones after an id: their ids and their wallets'."""
    values: dict[str, Any] = {"after": after, "most": PAGE}
    if statement is _VESTING:
        values["day"] = japanese_day(clock())
    async with read(engine) as connection:
        return [(row[0], row[1]) for row in await connection.execute(statement, values)]
