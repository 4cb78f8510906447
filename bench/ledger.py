"""The ledger by itself: 64 requests waiting, each of one transfer and with its own answer."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from bench.processes import BenchError, say
from bench.stage import Stage
from wallet.core.clock import system_clock
from wallet.core.database import connect
from wallet.core.ids import new_id
from wallet.core.money import LEDGER_JPY
from wallet.ledger.create import create_accounts, create_transfers
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    Account,
    AccountCode,
    Transfer,
    TransferCode,
)
from wallet.ledger.teller import Teller

WAITING: Final = 64
FUNDS: Final = 1_000_000_000
ACCOUNT_CODE: Final = 99
TRANSFER_CODE: Final = 99
"""A number of its own, by which the transfers of this part are counted in the end."""

GROUP: Final = 1_000
"""Accounts opened or funded by one request."""


@dataclass
class Rate:
    """What several slices of the same kind add up to."""

    count: int = 0
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        """How many a second; 0 before the first slice."""
        return self.count / self.seconds if self.seconds else 0.0


@dataclass
class LedgerPart:
    """Transfers between any two accounts, and from any account to one and the same."""

    teller: Teller
    accounts: Sequence[UUID]
    rng: random.Random
    uniform: Rate = field(default_factory=Rate)
    hot: Rate = field(default_factory=Rate)
    slice_transfers: int = 0
    booked: int = 0

    async def warm_up(self, *, slice_s: float, transfers: int) -> None:
        """Prepare statements, touch memory, and find how many transfers fit in ``slice_s``."""
        rate = Rate()
        await self._run(rate, hot=False, transfers=transfers)
        self.slice_transfers = max(WAITING, int(rate.per_s * slice_s))

    async def take_turn(self, *, backwards: bool) -> None:
        """Measure a slice of each, so that noise meets both alike; ``backwards`` as in the till."""
        kinds = (("uniform", self.uniform, False), ("one account", self.hot, True))
        for name, rate, hot in kinds[::-1] if backwards else kinds:
            one = Rate()
            await self._run(one, hot=hot, transfers=self.slice_transfers)
            say(f"ledger, {name}: {one.per_s:,.0f} transfers/s")
            rate.count += one.count
            rate.seconds += one.seconds

    async def _run(self, rate: Rate, *, hot: bool, transfers: int) -> None:
        """Keep :data:`WAITING` callers busy that each wait for their own answer.

        The transfers are made beforehand: what is measured is the ledger, not their drawing.
        """
        drawn = iter([_transfer(self._pair(hot=hot), 1) for _ in range(transfers)])

        async def keep_asking() -> None:
            for transfer in drawn:
                await self._book([transfer])

        started_at = time.perf_counter()
        async with asyncio.TaskGroup() as callers:
            for _ in range(WAITING):
                callers.create_task(keep_asking())
        rate.count += transfers
        rate.seconds += time.perf_counter() - started_at

    def _pair(self, *, hot: bool) -> tuple[UUID, UUID]:
        count = len(self.accounts)
        debit = self.rng.randrange(1, count)
        # Any other account: the number of steps from one to another is never a full turn.
        credit = 0 if hot else (debit + self.rng.randrange(1, count)) % count
        return self.accounts[debit], self.accounts[credit]

    async def open_accounts(self) -> None:
        """Open accounts that cannot go below zero, as purses cannot, and fund each the same."""
        flags = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS
        source = new_id(now_us=system_clock())
        opened = [Account(source, LEDGER_JPY, ACCOUNT_CODE)]
        opened += [Account(i, LEDGER_JPY, ACCOUNT_CODE, flags) for i in self.accounts]
        for start in range(0, len(opened), GROUP):
            for result in await create_accounts(self.teller, opened[start : start + GROUP]):
                if result.code is not AccountCode.CREATED:
                    message = f"the ledger did not open an account: {result.code}"
                    raise BenchError(message)
        for start in range(0, len(self.accounts), GROUP):
            group = self.accounts[start : start + GROUP]
            await self._book([_transfer((source, account), FUNDS) for account in group])

    async def _book(self, transfers: Sequence[Transfer]) -> None:
        for result in await create_transfers(self.teller, transfers):
            if result.code is not TransferCode.CREATED:
                message = f"the ledger refused a transfer that fits: {result.code}"
                raise BenchError(message)
        self.booked += len(transfers)


@asynccontextmanager
async def open_ledger(stage: Stage, *, accounts: int) -> AsyncIterator[LedgerPart]:
    """Yield the part, ready to take turns, with a teller as the till has one."""
    teller = Teller(
        connect=lambda: connect(stage.application_url, application_name="bench-ledger"),
        clock=system_clock,
    )
    await teller.start()
    try:
        part = LedgerPart(
            teller,
            [new_id(now_us=system_clock()) for _ in range(accounts)],
            random.Random(accounts),  # noqa: S311 - repeatable, not secret
        )
        await part.open_accounts()
        yield part
    finally:
        await teller.close()


def _transfer(pair: tuple[UUID, UUID], amount: int) -> Transfer:
    debit, credit = pair
    transfer_id = new_id(now_us=system_clock())
    return Transfer(transfer_id, debit, credit, amount, LEDGER_JPY, TRANSFER_CODE)
