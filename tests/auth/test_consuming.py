"""Challenges in batches of money: used up once, for their operation only, by look-ups alone."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.challenges import challenge_to, draft, pass_by_finger, requires
from tests.factories.moments import NOW, NOW_US
from tests.factories.phones import Phone, make_phone
from tests.payments.test_batches import is_look_up, plan_of
from tests.servers import Database
from wallet.auth import step_up_storage as storage
from wallet.auth.queries import list_challenges
from wallet.auth.rules import Acr, StepUp, check_step_up, op_hash
from wallet.auth.step_up_storage import (
    Challenge,
    Consumption,
    consume_step_ups,
    count_recent,
    insert_step_ups,
    lock_step_ups,
    requested,
)
from wallet.core.database import Connection, connect, read
from wallet.core.outbox import append

_CONSUMED = text("SELECT consumed_by, consumed_at FROM step_up WHERE id = :id")


@dataclass(frozen=True, kw_only=True)
class Till:
    """A connection of the till, and whoever pays there."""

    url: str
    engine: AsyncEngine
    connection: Connection
    phone: Phone


@pytest.fixture
async def till(engine: AsyncEngine, module_database: Database) -> AsyncIterator[Till]:
    """Yield a till with somebody whose phone can be asked."""
    url = module_database.application_url
    connection = await connect(url, application_name="tests")
    try:
        phone = await make_phone(engine)
        yield Till(url=url, engine=engine, connection=connection, phone=phone)
    finally:
        await connection.close()


def use_of(challenge: Challenge, *, by: UUID | None = None) -> Consumption:
    """Return the use of a challenge for its operation."""
    return Consumption(challenge.id, challenge.op_hash, by or uuid4())


async def passed_challenge(till: Till) -> Challenge:
    """Return a challenge that was passed."""
    challenge = await challenge_to(till.engine, till.phone)
    await pass_by_finger(till.engine, till.phone, challenge)
    return challenge


async def consumed_by(till: Till, challenge: Challenge) -> UUID | None:
    """Return what a challenge was used for."""
    async with read(till.engine) as connection:
        row = (await connection.execute(_CONSUMED, {"id": challenge.id})).one()
        assert (row.consumed_by is None) == (row.consumed_at is None)
        by: UUID | None = row.consumed_by
        return by


async def test_a_batch_sees_a_challenge_as_it_stands(till: Till) -> None:
    waiting = await challenge_to(till.engine, till.phone)
    passed = await passed_challenge(till)
    asked = [waiting.id, passed.id, uuid4()]
    async with till.connection.transaction():
        found = await lock_step_ups(till.connection, asked)
    assert set(found) == {waiting.id, passed.id}
    assert found[passed.id] == StepUp(
        id=passed.id,
        principal_id=till.phone.principal_id,
        op_hash=passed.op_hash,
        expires_at=passed.expires_at,
        passed_at=NOW,
        passed_acr=Acr.PIN,
        consumed_by=None,
        device_id=till.phone.device_id,
        nonce=passed.nonce,
        required=(Acr.PIN,),
        max_age_s=300,
    )
    assert isinstance(found[passed.id].passed_acr, Acr)
    assert found[waiting.id].passed_acr is None
    refusal = check_step_up(
        found[passed.id],
        principal_id=till.phone.principal_id,
        op_hash=passed.op_hash,
        requirement=requires(Acr.PIN),
        now=NOW,
    )
    assert refusal is None


async def test_a_batch_without_challenges_asks_nothing(till: Till) -> None:
    assert await lock_step_ups(till.connection, []) == {}
    await insert_step_ups(till.connection, [])


async def test_a_challenge_is_used_up_by_what_the_money_moved_for(till: Till) -> None:
    challenges = [await passed_challenge(till) for _ in range(3)]
    uses = [use_of(challenge) for challenge in challenges]
    used = await consume_step_ups(till.connection, uses, now=NOW)
    assert used == {challenge.id for challenge in challenges}
    for challenge, use in zip(challenges, uses, strict=True):
        assert await consumed_by(till, challenge) == use.consumed_by
    assert await consume_step_ups(till.connection, uses, now=NOW) == set()


@pytest.mark.attack(20)
async def test_one_yen_more_does_not_use_the_challenge(till: Till) -> None:
    challenge = await passed_challenge(till)
    other = replace(use_of(challenge), op_hash=op_hash({"amount": 12_001}))
    assert await consume_step_ups(till.connection, [other], now=NOW) == set()
    assert await consumed_by(till, challenge) is None


@pytest.mark.asvs("v5.0.0-2.3.1")
async def test_a_challenge_nobody_passed_is_not_used(till: Till) -> None:
    challenge = await challenge_to(till.engine, till.phone)
    assert await consume_step_ups(till.connection, [use_of(challenge)], now=NOW) == set()


@pytest.mark.parametrize(("seconds", "good"), [(119, True), (120, False)])
async def test_a_challenge_that_has_expired_is_not_used(
    till: Till, seconds: int, *, good: bool
) -> None:
    challenge = await passed_challenge(till)
    then = NOW + timedelta(seconds=seconds)
    used = await consume_step_ups(till.connection, [use_of(challenge)], now=then)
    assert bool(used) is good


@pytest.mark.attack(19)
@pytest.mark.asvs("v5.0.0-15.4.2")
async def test_of_fifty_payments_on_one_challenge_one_moves_money(till: Till) -> None:
    challenge = await passed_challenge(till)
    connections = [await connect(till.url, application_name="tests") for _ in range(5)]
    busy = [asyncio.Lock() for _ in connections]
    uses = [use_of(challenge) for _ in range(50)]

    async def pay(number: int) -> bool:
        connection = connections[number % len(connections)]
        async with busy[number % len(connections)], connection.transaction():
            found = await lock_step_ups(connection, [challenge.id])
            refusal = check_step_up(
                found[challenge.id],
                principal_id=till.phone.principal_id,
                op_hash=challenge.op_hash,
                requirement=requires(Acr.PIN),
                now=NOW,
            )
            used = await consume_step_ups(connection, [uses[number]], now=NOW)
            # What the batch decides by and what the table holds never differ.
            assert (refusal is None) == bool(used)
            return bool(used)

    try:
        paid = await asyncio.gather(*[pay(number) for number in range(50)])
    finally:
        for connection in connections:
            await connection.close()
    assert paid.count(True) == 1
    assert await consumed_by(till, challenge) == uses[paid.index(True)].consumed_by


@pytest.mark.asvs("v5.0.0-2.3.3")
async def test_a_batch_that_is_undone_gives_the_challenge_back(till: Till) -> None:
    challenge = await passed_challenge(till)
    transaction = till.connection.transaction()
    await transaction.start()
    assert await consume_step_ups(till.connection, [use_of(challenge)], now=NOW)
    await transaction.rollback()
    assert await consumed_by(till, challenge) is None
    assert await consume_step_ups(till.connection, [use_of(challenge)], now=NOW)


async def test_batches_that_lock_the_same_challenges_do_not_wait_in_a_ring(till: Till) -> None:
    challenges = [await passed_challenge(till) for _ in range(6)]
    ids = [challenge.id for challenge in challenges]
    other = await connect(till.url, application_name="tests")

    async def lock(connection: Connection, asked: list[UUID]) -> None:
        for _ in range(20):
            async with connection.transaction():
                assert len(await lock_step_ups(connection, asked)) == 6

    try:
        await asyncio.gather(lock(till.connection, ids), lock(other, ids[::-1]))
    finally:
        await other.close()


async def test_what_a_batch_writes_is_what_a_door_writes(till: Till) -> None:
    made = [
        draft(till.phone, Acr.PIN, Acr.OTP, push=True),
        draft(till.phone, Acr.PHR, device_id=None),
        draft(till.phone),
    ]
    async with till.connection.transaction():
        await insert_step_ups(till.connection, made)
        told = [requested(one, now_us=NOW_US) for one in made]
        await append(till.connection, events=told, now=NOW)
    async with read(till.engine) as connection:
        waiting = await list_challenges(
            connection,
            principal_id=till.phone.principal_id,
            device_id=till.phone.device_id,
            now_us=NOW_US,
        )
    by_id = {one.id: one for one in waiting}
    for challenge in made:
        found = by_id[challenge.id]
        assert (found.challenge, found.required) == (challenge.challenge, challenge.required)
        assert (found.summary, found.operation) == (challenge.summary, challenge.operation)
        assert found.asks_number is (challenge.number_match is not None)
    await pass_by_finger(till.engine, till.phone, made[-1])


@pytest.mark.attack(12)
async def test_a_batch_counts_how_often_somebody_was_asked(till: Till) -> None:
    stranger = await make_phone(till.engine)
    for _ in range(3):
        await challenge_to(till.engine, till.phone)
    asked = [till.phone.principal_id, stranger.principal_id]
    before, since = NOW - timedelta(seconds=1), NOW
    assert await count_recent(till.connection, asked, since=before) == dict(
        zip(asked, [3, 0], strict=True)
    )
    assert set((await count_recent(till.connection, asked, since=since)).values()) == {0}


@pytest.mark.parametrize("name", ["INSERT", "_LOCK", "_CONSUME", "_COUNT_RECENT"])
async def test_statements_of_batches_are_look_ups_on_an_empty_table(
    module_database: Database, name: str
) -> None:
    assert is_look_up(await plan_of(module_database, getattr(storage, name)))
