"""What time does to purses: the worker's rounds of longer days, expiry and reminders."""

from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import Clock
from wallet.programmes.expire import expire_due
from wallet.programmes.extend import extend_due, renew_used
from wallet.programmes.remind import remind_due


async def run_due(engine: AsyncEngine, database_url: str, clock: Clock) -> None:
    """Do what is due; whoever is to have longer has it before anything expires.

    What expires was over when the round began: what is used or extended on a last evening, after it
    was looked for and while the round goes on beyond midnight, has its later day in the next one.
    """
    now_us = clock()
    await extend_due(engine, database_url=database_url, clock=clock)
    await renew_used(engine, database_url=database_url, clock=clock)
    await expire_due(engine, database_url=database_url, clock=clock, now_us=now_us)
    await remind_due(engine, database_url=database_url, clock=clock)
