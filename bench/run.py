"""One run: prepare everything, let the parts take turns with the yardstick, close the books."""

import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import mean
from typing import Final

from bench import yardstick
from bench.books import Books, close_books
from bench.city import seed_city
from bench.generator import Result
from bench.ledger import LedgerPart, open_ledger
from bench.processes import rss_mb, say
from bench.proofs import measure_proof_ms
from bench.stage import Stage, checkpoint
from bench.step_up import PHONES, PHONES_QUICK, StepUpCost, measure_step_up
from bench.storm import StormPart, open_storm
from bench.till import Ledgered, TillPart, open_till


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured, and how large the city is."""

    rounds: int
    yardstick_scale: int
    yardstick_s: int
    ledger_accounts: int
    ledger_slice_s: float
    ledger_warm_up_transfers: int
    wallets: int
    shops: int
    till_slice_s: float
    till_warm_up_payments: int
    open_loop_s: float
    storm_rounds: int
    storm_slice_s: float
    phones: int
    till_payments: int
    """How many payments the till's process has taken before its memory is looked at."""


FULL: Final = Plan(
    rounds=4,
    yardstick_scale=yardstick.SCALE,
    yardstick_s=8,
    ledger_accounts=10_000,
    ledger_slice_s=3.0,
    ledger_warm_up_transfers=20_000,
    wallets=20_000,
    shops=2_000,
    till_slice_s=5.0,
    till_warm_up_payments=3_000,
    open_loop_s=20.0,
    storm_rounds=3,
    storm_slice_s=6.0,
    phones=PHONES,
    till_payments=100_000,
)

QUICK: Final = Plan(
    rounds=1,
    yardstick_scale=1,
    yardstick_s=1,
    ledger_accounts=200,
    ledger_slice_s=0.5,
    ledger_warm_up_transfers=1_000,
    wallets=1_500,
    shops=40,
    till_slice_s=0.5,
    till_warm_up_payments=200,
    open_loop_s=1.0,
    storm_rounds=1,
    storm_slice_s=1.0,
    phones=PHONES_QUICK,
    till_payments=0,
)
"""A smoke test: everything is run, and no figure means anything."""


@dataclass
class Measured:
    """What a run has found out; a part that was not asked for is None."""

    fdatasync_us: float
    seconds: float = 0.0
    tps_beside_ledger: list[float] = field(default_factory=list)
    tps_beside_till: list[float] = field(default_factory=list)
    ledger: LedgerPart | None = None
    till: TillPart | None = None
    storm: StormPart | None = None
    proof_cpu_ms: float = 0.0
    open_loop: Result | None = None
    open_rate_per_s: float = 0.0
    rss_mb: float = 0.0
    books: Books | None = None
    step_up: StepUpCost | None = None

    @property
    def pgbench_tps(self) -> float:
        """The mean of the yardstick's slices, which are all of the same length."""
        return mean(self.tps_beside_ledger + self.tps_beside_till)


async def run(stage: Stage, plan: Plan, *, parts: frozenset[str]) -> Measured:
    """Carry out the plan; the stage must be new."""
    started_at = time.perf_counter()
    measured = Measured(yardstick.measure_fdatasync_us(stage.cluster.data_directory))
    say("filling the yardstick's tables")
    await yardstick.fill(
        stage.cluster.bin_directory, stage.yardstick_url, scale=plan.yardstick_scale
    )
    async with _open_parts(stage, plan, measured, parts):
        await _warm_up(plan, measured)
        await checkpoint(stage)
        # As the till does: what there is now stays, and need not be looked through any more.
        gc.collect()
        gc.freeze()
        await _take_turns(stage, plan, measured)
        if measured.till is not None:
            # Pages that the yardstick has left dirty would be flushed while payments are timed.
            await checkpoint(stage)
            await _finish_till(plan, measured, measured.till)
    say("closing the books")
    measured.books = await close_books(
        stage,
        told=measured.till.loader.ledgered if measured.till else Ledgered(),
        transfers_told=measured.ledger.booked if measured.ledger else 0,
    )
    if measured.till is not None:
        measured.step_up = await measure_step_up(stage, phones=plan.phones)
    measured.seconds = time.perf_counter() - started_at
    return measured


@asynccontextmanager
async def _open_parts(
    stage: Stage, plan: Plan, measured: Measured, parts: frozenset[str]
) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        if "ledger" in parts:
            say("opening the ledger's accounts")
            opened = open_ledger(stage, accounts=plan.ledger_accounts)
            measured.ledger = await stack.enter_async_context(opened)
        if "till" in parts:
            say(f"seeding a city of {plan.wallets:,} wallets")
            city = await seed_city(stage, wallets=plan.wallets, shops=plan.shops)
            measured.till = await stack.enter_async_context(open_till(stage, city))
            measured.storm = await stack.enter_async_context(open_storm(stage))
        yield


async def _warm_up(plan: Plan, measured: Measured) -> None:
    if measured.ledger is not None:
        await measured.ledger.warm_up(
            slice_s=plan.ledger_slice_s, transfers=plan.ledger_warm_up_transfers
        )
    if measured.till is not None:
        await measured.till.warm_up(slice_s=plan.till_slice_s, payments=plan.till_warm_up_payments)


async def _take_turns(stage: Stage, plan: Plan, measured: Measured) -> None:
    """Let each part take turns with the yardstick, which begins and ends.

    The ledger comes first, so that what the till writes is not among what its figure depends on.
    """
    if measured.ledger is not None:
        await _alternate(stage, plan, measured.ledger.take_turn, measured.tps_beside_ledger)
    if measured.till is not None:
        await _alternate(stage, plan, measured.till.take_turn, measured.tps_beside_till)


async def _alternate(
    stage: Stage, plan: Plan, take_turn: Callable[..., Awaitable[None]], tps: list[float]
) -> None:
    tps.append(await _measure_yardstick(stage, plan))
    for number in range(1, plan.rounds + 1):
        say(f"round {number} of {plan.rounds}")
        await take_turn(backwards=number % 2 == 0)
        tps.append(await _measure_yardstick(stage, plan))


async def _measure_yardstick(stage: Stage, plan: Plan) -> float:
    tps = await yardstick.measure_tps(
        stage.cluster.bin_directory, stage.yardstick_url, seconds=plan.yardstick_s
    )
    say(f"pgbench: {tps:,.0f} transactions/s")
    return tps


async def _finish_till(plan: Plan, measured: Measured, till: TillPart) -> None:
    measured.open_rate_per_s = till.uniform.per_s / 2
    measured.open_loop = await till.run_open_loop(
        rate_per_s=measured.open_rate_per_s, seconds=plan.open_loop_s
    )
    if measured.storm is not None:
        for _ in range(plan.storm_rounds):
            await measured.storm.take_turn(
                till, rate_per_s=measured.open_rate_per_s, seconds=plan.storm_slice_s
            )
    measured.proof_cpu_ms = measure_proof_ms()
    await till.fill_up_to(plan.till_payments)
    measured.rss_mb = rss_mb(till.till.pid)
