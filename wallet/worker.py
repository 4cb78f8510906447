"""The worker: what must go on while nobody pays.

It seals the ledger, releases holds that have run out when no payment comes along to do it, declines
payments whose payer did not approve them in time, does what is due of programmes, benefits, points,
purchases, cards and paper, and forgets attempts at guessing that no longer count. Any number of
workers may run; they do the same work once.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.auth import guess_limits
from wallet.benefits.run_due import run_due as run_benefits
from wallet.core.clock import Clock
from wallet.core.database import is_away, make_engine, read, write
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.create import CREATE, CreateRequest
from wallet.ledger.seal import seal
from wallet.ledger.storage import EXPIRED_HOLDS_MAX
from wallet.ledger.teller import OutcomeUnknown, Overloaded
from wallet.payments.give_due import run_due as run_bonuses
from wallet.payments.redeem_paper import run_due as run_redemptions
from wallet.payments.waiting import expire_waiting
from wallet.points.run_due import run_due as run_points
from wallet.programmes.purse_jobs import run_due as run_purses
from wallet.programmes.run_due import run_due as run_programmes
from wallet.receipts.run_due import run_due as run_receipts
from wallet.vouchers.draw_due import run_due as run_campaigns
from wallet.vouchers.paper_due import run_due as run_cards_and_paper
from wallet.vouchers.refund_buyers import run_due as run_buyer_refunds
from wallet.vouchers.settle_purchases import run_due as run_purchases

logger = logging.getLogger(__name__)

PAUSE_S: Final = 10.0
"""Between two rounds: how long a transfer waits for its seal, with the clocks' allowance."""

BACKOFF_S_MAX: Final = 60.0
"""The longest pause while the database is away; it doubles from the usual one."""

SEALS_PER_ROUND: Final = 100
"""A backlog is sealed in rounds, so that holds do not wait for a million transfers."""

_COUNT_DUE: Final = text("""
SELECT count(*) FROM pending_transfer WHERE state = 'pending' AND expires_at <= :now_us
""")


async def run_worker(*, database_url: str, clock: Clock, pause_s: float = PAUSE_S) -> None:
    """Work in rounds, ``pause_s`` apart, until SIGTERM or a cancellation.

    Whatever goes wrong in a job is logged, without its values, and the next round tries again:
    nothing here is lost by being late. Rounds in which no job was done at all, as when the
    database is away, get further apart.
    """
    engine = make_engine(database_url, pool_size=2, application_name="wallet-worker")
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    failures, pause = 0, pause_s
    try:
        while not stopped.is_set():
            if await _round(engine, database_url, clock):
                failures, pause = 0, pause_s
            else:
                failures, pause = failures + 1, min(2 * pause, max(pause_s, BACKOFF_S_MAX))
                logger.warning("no job was done, %d rounds in a row", failures)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), pause)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        await engine.dispose()


async def _round(engine: AsyncEngine, database_url: str, clock: Clock) -> bool:
    """Do every job once, whatever becomes of the others; return whether any was done."""
    done, away = 0, None
    for job in _JOBS:
        try:
            await job(engine, database_url, clock)
            done += 1
        except Exception as error:  # noqa: BLE001 - a worker outlives whatever it meets
            if is_away(error) or isinstance(error, OutcomeUnknown | Overloaded):
                away = error
            else:
                _log(error)
    if away is not None:  # One line is enough for all the jobs that needed it.
        logger.warning("the database is away (%s)", type(away).__name__)
    return done > 0


async def release_holds(engine: AsyncEngine, database_url: str, clock: Clock) -> int:
    """Release the holds that have run out and return how many there were.

    A batch of the teller does it, whatever it is about; these are about nothing.
    """
    async with read(engine) as connection:
        due: int = (await connection.execute(_COUNT_DUE, {"now_us": clock()})).scalar_one()
    if due:
        async with bulk_teller(database_url, clock=clock) as teller:
            for _ in range(-(-due // EXPIRED_HOLDS_MAX)):
                await teller.submit(CREATE, CreateRequest())
    return due


async def _expire_waiting(engine: AsyncEngine, database_url: str, clock: Clock) -> None:
    del database_url
    await expire_waiting(engine, now_us=clock())


async def _run_campaigns(engine: AsyncEngine, database_url: str, clock: Clock) -> None:
    del database_url
    await run_campaigns(engine, clock=clock)


async def _seal(engine: AsyncEngine, database_url: str, clock: Clock) -> None:
    del database_url
    for _ in range(SEALS_PER_ROUND):
        if await seal(engine, now_us=clock()) is None:
            break


async def _sweep(engine: AsyncEngine, database_url: str, clock: Clock) -> None:
    del database_url
    await write(engine, lambda connection: guess_limits.sweep(connection, now_us=clock()))


_JOBS: Final[tuple[Callable[[AsyncEngine, str, Clock], Awaitable[object]], ...]] = (
    release_holds,
    _expire_waiting,
    run_programmes,
    run_purses,
    run_benefits,
    run_receipts,
    run_purchases,
    run_points,
    run_bonuses,
    run_buyer_refunds,
    run_cards_and_paper,
    run_redemptions,
    _run_campaigns,
    _seal,
    _sweep,
)
"""What a round does, in this order: money that is held goes before money that is to be given."""


def _log(error: Exception) -> None:
    """Say where a job failed; its message may quote values of rows, its type and place do not."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    name = "" if place is None else f"{place.tb_frame.f_code.co_name}:{place.tb_lineno}"
    logger.error("a job of the round failed: %s in %s", type(error).__name__, name)
