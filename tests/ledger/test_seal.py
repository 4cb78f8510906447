"""Seals: what they hash, what they leave for later, and that nothing can slip under one."""

import asyncio
import hashlib
import struct
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.ledger import (
    account,
    codes,
    fund,
    open_accounts,
    open_connection,
    open_teller,
    pending,
    transfer,
    void,
)
from tests.factories.moments import NOW_US
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import Connection, connect, make_engine, read
from wallet.core.ids import new_id
from wallet.ledger import storage
from wallet.ledger.create import CREATE, Create, CreateRequest
from wallet.ledger.queries import lookup_transfers
from wallet.ledger.rules import NIL, Transfer
from wallet.ledger.seal import CLOCK_ALLOWANCE_US, TRANSFER_BYTES, Seal, seal
from wallet.ledger.teller import Teller
from wallet.ledger.verify_seals import verify_seals
from wallet.ledger.work import Facts

LATER_US = NOW_US + 3_600_000_000
PATIENCE_S = 20.0
"""Other sessions of the same server delay sealing while their transactions last."""


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """An engine of the application's role."""
    engine = make_engine(database.application_url, pool_size=4, application_name="tests")
    yield engine
    await engine.dispose()


@pytest.fixture
def clock() -> TestClock:
    """A clock that stands at noon."""
    return TestClock(NOW_US)


@pytest.fixture
async def teller(database: Database, clock: TestClock) -> AsyncIterator[Teller]:
    """A teller of two lanes on the test's own database."""
    async with open_teller(database.application_url, clock=clock, lanes=2) as teller:
        yield teller


async def seal_next(
    engine: AsyncEngine, *, now_us: int = LATER_US, transfers_max: int = 1_000
) -> Seal | None:
    """Seal one range; None only when there is nothing to seal."""
    return await seal(engine, now_us=now_us, transfers_max=transfers_max, wait_s=PATIENCE_S)


async def seal_all(engine: AsyncEngine, *, transfers_max: int = 1_000) -> list[Seal]:
    """Seal everything, range by range."""
    seals = []
    while (one := await seal_next(engine, transfers_max=transfers_max)) is not None:
        seals.append(one)
    return seals


async def make_transfers(teller: Teller, count: int) -> list[Transfer]:
    """Book ``count`` transfers between two new accounts."""
    payer, payee = await open_accounts(teller, account(), account())
    made = [transfer(payer, payee, 100 + number) for number in range(count)]
    assert set(await codes(teller, *made)) == {"created"}
    return made


async def timestamps(engine: AsyncEngine, transfers: Sequence[Transfer]) -> list[int]:
    """Return the timestamps under which the transfers were booked."""
    async with read(engine) as connection:
        found = await lookup_transfers(connection, [one.id for one in transfers])
    return [one.timestamp for one in found]


async def test_nothing_to_seal_is_no_seal(engine: AsyncEngine) -> None:
    assert await seal_next(engine) is None


async def test_ranges_are_bounded_and_follow_each_other(
    engine: AsyncEngine, teller: Teller
) -> None:
    await make_transfers(teller, 7)
    seals = await seal_all(engine, transfers_max=3)
    assert [one.transfers for one in seals] == [3, 3, 1]
    assert [one.number for one in seals] == [1, 2, 3]
    assert seals[0].from_timestamp == 0
    assert [one.from_timestamp for one in seals[1:]] == [one.to_timestamp for one in seals[:-1]]
    assert seals[-1].to_timestamp == LATER_US - CLOCK_ALLOWANCE_US
    assert [one.previous_hash for one in seals] == [bytes(32), seals[0].hash, seals[1].hash]
    assert (await verify_seals(engine)).ok


async def test_transfers_at_one_timestamp_are_not_parted(
    engine: AsyncEngine, teller: Teller, database: Database
) -> None:
    made = await make_transfers(teller, 4)
    async with open_connection(database.owner_url) as owner:
        await owner.execute("ALTER TABLE transfer DISABLE TRIGGER USER")
        await owner.execute(
            "UPDATE transfer SET timestamp = $1 WHERE id = ANY($2::uuid[])",
            NOW_US + 5,
            [one.id for one in made[1:]],
        )
    seals = await seal_all(engine, transfers_max=2)
    assert [one.transfers for one in seals] == [4]


def encoded(one: Transfer) -> bytes:
    """Return the 120 bytes of a transfer, written down from the documentation alone."""
    return struct.pack(
        ">16s16s16sqihh16s16sqiiq",
        one.id.bytes, one.debit_account_id.bytes, one.credit_account_id.bytes,
        one.amount, one.ledger, one.code, one.flags,
        one.pending_id.bytes, one.user_data_128.bytes, one.user_data_64, one.user_data_32,
        one.timeout_s, one.timestamp,
    )  # fmt: skip


async def test_the_hash_is_the_documented_one(engine: AsyncEngine, teller: Teller) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    source = await fund(teller, payer)
    hold = pending(payer, payee, 30, timeout_s=9)
    full = transfer(
        payer, payee, 5, code=32_767, user_data_128=source, user_data_64=2**62, user_data_32=2**30
    )
    assert set(await codes(teller, hold, void(hold), full)) == {"created"}
    (one,) = await seal_all(engine)
    async with read(engine) as connection:
        rows = await connection.execute(text("SELECT id FROM transfer ORDER BY timestamp, id"))
        stored = await lookup_transfers(connection, list(rows.scalars()))
        prints: bytes = (
            await connection.execute(text("SELECT fingerprints FROM seal"))
        ).scalar_one()
    assert {one.pending_id for one in stored} == {NIL, hold.id}
    rows_bytes = [encoded(one) for one in stored]
    header = struct.pack(">QQQQ", 1, 0, one.to_timestamp, 4)
    assert (
        one.hash
        == hashlib.blake2b(bytes(32) + header + b"".join(rows_bytes), digest_size=32).digest()
    )
    assert prints == b"".join(
        row[:16] + hashlib.blake2b(row, digest_size=8).digest() for row in rows_bytes
    )


async def test_what_is_too_young_for_the_clocks_waits(
    engine: AsyncEngine, teller: Teller, clock: TestClock
) -> None:
    old = await make_transfers(teller, 2)
    clock.advance(seconds=10)
    young = await make_transfers(teller, 2)
    now_us = (await timestamps(engine, young))[0] + CLOCK_ALLOWANCE_US
    one = await seal_next(engine, now_us=now_us)
    assert one is not None
    assert one.transfers == len(old)
    assert await seal_next(engine, now_us=now_us) is None
    two = await seal_next(engine, now_us=now_us + 1)
    assert two is not None
    assert two.transfers == 1


async def test_a_batch_has_a_number_before_it_reads_its_clock(database: Database) -> None:
    """The proof in wallet/ledger/seal.py rests on this."""
    connection = await connect(database.application_url, application_name="tests")
    await storage.begin(connection)
    await storage.obey(connection)
    number = await connection.fetchval("SELECT pg_current_xact_id_if_assigned()::text")
    assert number is not None
    await connection.close()


async def test_so_has_a_batch_that_locks_and_looks_at_once(
    database: Database, teller: Teller
) -> None:
    made = await make_transfers(teller, 1)
    connection = await connect(database.application_url, application_name="tests")
    account_ids = await connection.fetch("SELECT account_id FROM balance")
    await storage.begin(connection)
    locked = await storage.lock_and_look(
        connection, [row[0] for row in account_ids], [new_id(now_us=NOW_US)], now_us=NOW_US
    )
    assert len(locked or ()) == len(account_ids) > len(made)
    number = await connection.fetchval("SELECT pg_current_xact_id_if_assigned()::text")
    assert number is not None
    await connection.close()


class Held(Create):
    """Creates transfers in a batch that is held up before it decides."""

    def __init__(self) -> None:
        self.begun, self.let_go = asyncio.Event(), asyncio.Event()

    def foresee(self, requests: Sequence[CreateRequest]) -> None:
        """Nothing: there must be a moment between the clock and the decision."""
        del requests

    async def gather(
        self, connection: Connection, requests: Sequence[CreateRequest], now_us: int
    ) -> Facts:
        """Wait to be let go, with the transaction open and the clock read."""
        self.begun.set()
        await self.let_go.wait()
        return await super().gather(connection, requests, now_us)


async def test_nothing_is_sealed_over_a_batch_that_is_still_open(
    engine: AsyncEngine, teller: Teller, clock: TestClock, database: Database
) -> None:
    ids = await open_accounts(teller, *[account() for _ in range(4)])
    held, early, late = Held(), transfer(ids[0], ids[1]), transfer(ids[2], ids[3])
    async with open_teller(database.application_url, clock=clock) as another_process:
        answer = another_process.submit(held, CreateRequest(transfers=(early,)))
        await held.begun.wait()
        clock.advance(seconds=60)
        await teller.submit(CREATE, CreateRequest(transfers=(late,)))
        assert await seal(engine, now_us=LATER_US, wait_s=0.2) is None
        held.let_go.set()
        await answer
    early_us, late_us = await timestamps(engine, [early, late])
    assert early_us < NOW_US + 1_000 < late_us
    (one,) = await seal_all(engine)
    assert one.transfers == 2
    assert (await verify_seals(engine)).ok


async def test_a_reader_that_stays_open_delays_nothing(engine: AsyncEngine, teller: Teller) -> None:
    await make_transfers(teller, 1)
    async with read(engine) as reader:
        await reader.execute(text("SELECT 1"))
        assert len(await seal_all(engine)) == 1


async def test_sealing_while_money_moves_leaves_nothing_out(
    engine: AsyncEngine, database: Database
) -> None:
    clock = TestClock(NOW_US)
    async with open_teller(database.application_url, clock=clock, lanes=2) as teller:
        running = asyncio.create_task(_keep_booking(teller, clock))
        while not running.done():
            await seal_next(engine, now_us=clock(), transfers_max=20)
        booked = await running
    # However few of them were sealed meanwhile, no seal covers more than it may.
    while await seal_next(engine, now_us=LATER_US, transfers_max=20) is not None:
        pass
    report = await verify_seals(engine)
    assert report.ok
    assert report.seals > 3
    assert report.transfers == booked


async def _keep_booking(teller: Teller, clock: TestClock) -> int:
    """Book 150 transfers, each at its own second of the clock that all share."""
    payer, payee = await open_accounts(teller, account(), account())
    for _ in range(50):
        clock.advance(seconds=1)
        await asyncio.gather(
            *[
                teller.submit(CREATE, CreateRequest(transfers=(transfer(payer, payee),)))
                for _ in range(3)
            ]
        )
    return 150


async def test_two_who_seal_at_once_make_one_seal(engine: AsyncEngine, teller: Teller) -> None:
    await make_transfers(teller, 3)
    seals = await asyncio.gather(*[seal_next(engine) for _ in range(2)])
    assert sorted(one.number for one in seals if one is not None) == [1]
    assert await seal_next(engine) is None


@pytest.mark.attack(28)
@pytest.mark.parametrize(
    "statement", ["UPDATE seal SET transfers = 0", "DELETE FROM seal", "TRUNCATE seal"]
)
async def test_nobody_changes_a_seal(
    engine: AsyncEngine, teller: Teller, database: Database, statement: str
) -> None:
    await make_transfers(teller, 1)
    await seal_all(engine)
    for url, refusal in (
        (database.application_url, "permission denied"),
        (database.owner_url, "never changed or removed"),
    ):
        async with open_connection(url) as connection:
            with pytest.raises(Exception, match=refusal):
                await connection.execute(statement)


async def test_not_even_a_month_of_transfers_is_emptied(database: Database) -> None:
    async with open_connection(database.owner_url) as owner:
        with pytest.raises(Exception, match="never changed or removed"):
            await owner.execute("TRUNCATE transfer_y2026m11")


def test_the_layout_has_the_documented_length() -> None:
    assert len(encoded(transfer(NIL, NIL))) == TRANSFER_BYTES == 120
