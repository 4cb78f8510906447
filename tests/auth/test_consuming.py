"""Challenges in batches of money: used up once, for their operation only, by look-ups alone."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
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
from wallet.auth.queries import list_challenges
from wallet.auth.rules import Acr, StepUp, check_step_up, op_hash
from wallet.auth.step_up_storage import (
    INSERT,
    LOCK,
    SETTLE,
    Challenge,
    insert_step_ups,
    requested,
    step_up_from,
)
from wallet.core.database import Connection, connect, read
from wallet.core.outbox import append

_LOCK = LOCK.format(ids="$1")
_SETTLE = SETTLE.format(
    now="$1", ids="$2", op_hashes="$3", failures="$4", passed_at="$5", acrs="$6", classes="$7",
    consumed_by="$8",
)  # fmt: skip
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


async def lock(connection: Connection, challenge_ids: Collection[UUID]) -> dict[UUID, StepUp]:
    """Lock challenges until the transaction ends, and return those there are."""
    rows = await connection.fetch(_LOCK, list(challenge_ids))
    return {row[0]: step_up_from(row) for row in rows}


async def settle(connection: Connection, step_ups: Sequence[StepUp], *, now: datetime) -> set[UUID]:
    """Write challenges as a batch leaves them; return those that were as it had found them."""
    rows = await connection.fetch(
        _SETTLE,
        now,
        [one.id for one in step_ups],
        [one.op_hash for one in step_ups],
        [one.failures for one in step_ups],
        [one.passed_at for one in step_ups],
        [one.passed_acr for one in step_ups],
        [None if one.passed_at is None else "knowledge" for one in step_ups],
        [one.consumed_by for one in step_ups],
    )
    return {row[0] for row in rows}


async def use_of(till: Till, *challenges: Challenge, **changes: Any) -> list[StepUp]:  # noqa: ANN401 - fields of many types
    """Return challenges as they stand, each used for a payment of its own."""
    found = await lock(till.connection, [one.id for one in challenges])
    return [replace(found[one.id], **{"consumed_by": uuid4(), **changes}) for one in challenges]


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
        found = await lock(till.connection, asked)
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
    await insert_step_ups(till.connection, [])


async def test_a_challenge_is_used_up_by_what_the_money_moved_for(till: Till) -> None:
    challenges = [await passed_challenge(till) for _ in range(3)]
    uses = await use_of(till, *challenges)
    assert await settle(till.connection, uses, now=NOW) == {one.id for one in challenges}
    for challenge, use in zip(challenges, uses, strict=True):
        assert await consumed_by(till, challenge) == use.consumed_by
    assert await settle(till.connection, uses, now=NOW) == set()


@pytest.mark.attack(20)
async def test_one_yen_more_does_not_use_the_challenge(till: Till) -> None:
    challenge = await passed_challenge(till)
    others = await use_of(till, challenge, op_hash=op_hash({"amount": 12_001}))
    assert await settle(till.connection, others, now=NOW) == set()
    assert await consumed_by(till, challenge) is None


@pytest.mark.asvs("v5.0.0-2.3.1")
async def test_a_challenge_nobody_passed_is_not_used(till: Till) -> None:
    challenge = await challenge_to(till.engine, till.phone)
    assert await settle(till.connection, await use_of(till, challenge), now=NOW) == set()


@pytest.mark.parametrize(("seconds", "good"), [(119, True), (120, False)])
async def test_a_challenge_that_has_expired_is_not_used(
    till: Till, seconds: int, *, good: bool
) -> None:
    challenge = await passed_challenge(till)
    then = NOW + timedelta(seconds=seconds)
    assert bool(await settle(till.connection, await use_of(till, challenge), now=then)) is good


async def test_what_was_answered_but_not_used_can_be_used_later(till: Till) -> None:
    wrong, right = [await challenge_to(till.engine, till.phone) for _ in range(2)]
    failed = await use_of(till, wrong, consumed_by=None, failures=1)
    passed = await use_of(till, right, consumed_by=None, passed_at=NOW, passed_acr=Acr.PIN)
    assert await settle(till.connection, [*failed, *passed], now=NOW) == {wrong.id, right.id}
    assert await lock(till.connection, [wrong.id, right.id]) == {
        wrong.id: failed[0], right.id: passed[0],
    }  # fmt: skip
    assert await settle(till.connection, await use_of(till, right), now=NOW) == {right.id}


@pytest.mark.attack(19)
@pytest.mark.asvs("v5.0.0-15.4.2")
async def test_of_fifty_payments_on_one_challenge_one_moves_money(till: Till) -> None:
    challenge = await passed_challenge(till)
    connections = [await connect(till.url, application_name="tests") for _ in range(5)]
    busy = [asyncio.Lock() for _ in connections]
    uses = [one for _ in range(50) for one in await use_of(till, challenge)]

    async def pay(number: int) -> bool:
        connection = connections[number % len(connections)]
        async with busy[number % len(connections)], connection.transaction():
            found = await lock(connection, [challenge.id])
            refusal = check_step_up(
                found[challenge.id],
                principal_id=till.phone.principal_id,
                op_hash=challenge.op_hash,
                requirement=requires(Acr.PIN),
                now=NOW,
            )
            used = await settle(connection, [uses[number]], now=NOW)
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
    assert await settle(till.connection, await use_of(till, challenge), now=NOW)
    await transaction.rollback()
    assert await consumed_by(till, challenge) is None
    assert await settle(till.connection, await use_of(till, challenge), now=NOW)


async def test_batches_that_lock_the_same_challenges_do_not_wait_in_a_ring(till: Till) -> None:
    challenges = [await passed_challenge(till) for _ in range(6)]
    ids = [challenge.id for challenge in challenges]
    other = await connect(till.url, application_name="tests")

    async def lock_all(connection: Connection, asked: list[UUID]) -> None:
        for _ in range(20):
            async with connection.transaction():
                assert len(await lock(connection, asked)) == 6

    try:
        await asyncio.gather(lock_all(till.connection, ids), lock_all(other, ids[::-1]))
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


@pytest.mark.parametrize("statement", [INSERT, _LOCK, _SETTLE], ids=["insert", "lock", "settle"])
async def test_statements_of_batches_are_look_ups_on_an_empty_table(
    module_database: Database, statement: str
) -> None:
    assert is_look_up(await plan_of(module_database, statement))
