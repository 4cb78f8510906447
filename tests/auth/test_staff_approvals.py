"""Requests and approvals in the database: once, by two, and never another than was seen."""

import asyncio
from collections.abc import Awaitable
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.moments import NOW, NOW_US, PEPPER
from tests.factories.phones import open_engine
from tests.factories.staff import (
    about,
    add,
    approval_of,
    ask,
    decide,
    make_colleague,
    take,
)
from tests.servers import Database
from wallet.auth.staff_accounts import change_family, change_roles, suspend_member
from wallet.auth.staff_approvals import OPEN_MAX, list_approvals, take_approval
from wallet.auth.staff_rules import Action, Approval
from wallet.core.clock import MICROSECONDS, to_datetime
from wallet.core.database import read, sqlstate_of, write
from wallet.core.embedded.databases import run_sql
from wallet.core.ids import public_id
from wallet.core.refusals import RefusedError

H_US = 3_600 * MICROSECONDS


async def refused(work: Awaitable[Any]) -> str:
    """Return the code of a refusal, or fail the test."""
    with pytest.raises(RefusedError) as caught:
        await work
    return caught.value.refusal.code


@pytest.fixture
async def clerk(engine: AsyncEngine) -> UUID:
    """Return the id of somebody at the counter."""
    return (await make_colleague(engine, "counter_clerk")).id


@pytest.fixture
async def lead(engine: AsyncEngine) -> UUID:
    """Return the id of who may approve what they ask for."""
    return (await make_colleague(engine, "counter_lead")).id


async def test_one_asks_another_approves_and_it_is_taken_once(
    engine: AsyncEngine, clerk: UUID, lead: UUID
) -> None:
    asked = await ask(engine, clerk)
    assert (asked.decision, asked.executed_at) == (None, None)
    approved = await decide(engine, asked, lead)
    assert (approved.decision, approved.decided_by, approved.decided_at) == ("approved", lead, NOW)
    taken = await take(engine, asked, clerk)
    assert taken.executed_at == NOW
    assert taken.payload == asked.payload
    assert await refused(take(engine, asked, clerk)) == "approval_executed"


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-2.3.5")
async def test_nobody_approves_their_own_request(engine: AsyncEngine, lead: UUID) -> None:
    asked = await ask(engine, lead)
    assert await refused(decide(engine, asked, lead)) == "four_eyes"
    assert (await approval_of(engine, asked.id)).decision is None


@pytest.mark.attack(28)
@pytest.mark.parametrize("through", ["the same person", "family"])
async def test_nobody_approves_through_a_second_account(engine: AsyncEngine, through: str) -> None:
    person_id = uuid4()
    clerk = await make_colleague(engine, "counter_clerk", person_id=person_id)
    link: dict[str, Any] = (
        {"person_id": person_id}
        if through == "the same person"
        else {"person_id": uuid4(), "family": frozenset({person_id})}
    )
    lead = await make_colleague(engine, "counter_lead", **link)
    asked = await ask(engine, clerk.id)
    assert await refused(decide(engine, asked, lead.id)) == "four_eyes"


@pytest.mark.attack(28)
@pytest.mark.parametrize("who", ["requester", "approver"])
async def test_nobody_asks_or_decides_for_themselves_or_family(
    engine: AsyncEngine, who: str, clerk: UUID, lead: UUID
) -> None:
    own, relative = uuid4(), uuid4()
    role = "counter_clerk" if who == "requester" else "counter_lead"
    close = await make_colleague(engine, role, person_id=own, family=frozenset({relative}))
    for person_id in (own, relative):
        subject = public_id("per", person_id)
        if who == "requester":
            assert await refused(ask(engine, close.id, subject=subject)) == "own_affair"
        else:
            asked = await ask(engine, clerk, subject=subject)
            assert await refused(decide(engine, asked, close.id)) == "own_affair"
            assert (await decide(engine, asked, lead)).decision == "approved"


@pytest.mark.attack(28)
async def test_a_role_without_the_permission_can_neither_ask_nor_decide(
    engine: AsyncEngine, clerk: UUID
) -> None:
    agent = await make_colleague(engine, "call_agent")
    assert await refused(ask(engine, agent.id)) == "permission_missing"
    asked = await ask(engine, clerk)
    assert await refused(decide(engine, asked, agent.id)) == "approver_not_entitled"
    colleague = await make_colleague(engine, "counter_clerk")
    assert await refused(decide(engine, asked, colleague.id)) == "approver_not_entitled"


@pytest.mark.attack(28)
async def test_only_who_asked_carries_it_out(engine: AsyncEngine, clerk: UUID, lead: UUID) -> None:
    asked = await ask(engine, clerk)
    assert await refused(take(engine, asked, clerk)) == "approval_missing"
    await decide(engine, asked, lead)
    assert await refused(take(engine, asked, lead)) == "approval_of_another"


async def test_a_rejected_request_says_why_and_is_over(
    engine: AsyncEngine, clerk: UUID, lead: UUID
) -> None:
    asked = await ask(engine, clerk)
    no = decide(engine, asked, lead, decision="rejected")
    assert await refused(no) == "reason_missing"
    rejected = await decide(engine, asked, lead, decision="rejected", because="書類の不足")
    assert rejected.decided_because == "書類の不足"
    assert await refused(take(engine, asked, clerk)) == "approval_missing"
    assert await refused(decide(engine, asked, lead)) == "approval_decided"


@pytest.mark.attack(28)
async def test_an_approval_is_of_what_was_seen(
    engine: AsyncEngine, clerk: UUID, lead: UUID
) -> None:
    asked, other = await ask(engine, clerk), await ask(engine, clerk)
    changed = decide(engine, asked, lead, seen_hash=other.payload_hash)
    assert await refused(changed) == "approval_changed"
    assert (await approval_of(engine, asked.id)).decision is None


async def test_after_72_hours_a_request_is_neither_decided_nor_carried_out(
    engine: AsyncEngine, clerk: UUID, lead: UUID
) -> None:
    late = NOW_US + 72 * H_US
    asked, in_time = await ask(engine, clerk), await ask(engine, clerk)
    assert await refused(decide(engine, asked, lead, now_us=late)) == "approval_expired"
    await decide(engine, in_time, lead, now_us=late - 1)
    assert await refused(take(engine, in_time, clerk, now_us=late)) == "approval_expired"
    assert (await take(engine, in_time, clerk, now_us=late - 1)).executed_at is not None


async def test_nobody_decides_or_takes_what_was_never_asked_for(
    engine: AsyncEngine, clerk: UUID, lead: UUID
) -> None:
    asked = await ask(engine, clerk)
    unknown = msgspec.structs.replace(asked, id=uuid4())
    assert await refused(decide(engine, unknown, lead)) == "approval_unknown"
    assert await refused(take(engine, unknown, clerk)) == "approval_unknown"


@pytest.mark.attack(28)
@pytest.mark.parametrize("event", ["suspended", "lost the role", "became family"])
@pytest.mark.parametrize("who", ["requester", "approver"])
async def test_what_happened_to_either_since_voids_the_approval(
    engine: AsyncEngine, event: str, who: str
) -> None:
    person_id = uuid4()
    clerk = await make_colleague(engine, "counter_clerk", "counter_lead")
    lead = await make_colleague(engine, "counter_lead")
    asked = await ask(engine, clerk.id, subject=public_id("per", person_id))
    await decide(engine, asked, lead.id)
    staff_id = clerk.id if who == "requester" else lead.id

    async def happen(connection: AsyncConnection) -> None:
        values: dict[str, Any] = {"staff_id": staff_id, "now_us": NOW_US}
        if event == "suspended":
            await suspend_member(connection, because="left", **values)
        elif event == "lost the role":
            # Neither asks nor decides any more.
            await connection.execute(
                text("DELETE FROM staff_role WHERE staff_id = :id"), {"id": staff_id}
            )
        else:
            await change_family(connection, person_id=person_id, family=frozenset(), **values)

    await write(engine, happen)
    assert await refused(take(engine, asked, clerk.id)) == "approval_void"
    assert (await approval_of(engine, asked.id)).executed_at is None


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-15.4.2")
async def test_of_twenty_at_once_one_decides_and_one_takes(
    engine: AsyncEngine, clerk: UUID
) -> None:
    leads = [(await make_colleague(engine, "counter_lead")).id for _ in range(2)]
    asked = await ask(engine, clerk)
    said = await asyncio.gather(
        *(decide(engine, asked, leads[number % 2]) for number in range(20)),
        return_exceptions=True,
    )
    assert len([one for one in said if isinstance(one, Approval)]) == 1
    codes = {one.refusal.code for one in said if isinstance(one, RefusedError)}
    assert codes == {"approval_decided"}
    taken = await asyncio.gather(
        *(take(engine, asked, clerk) for _ in range(20)), return_exceptions=True
    )
    assert len([one for one in taken if isinstance(one, Approval)]) == 1


async def test_what_fails_while_it_is_carried_out_may_be_tried_again(
    engine: AsyncEngine, clerk: UUID, lead: UUID
) -> None:
    asked = await ask(engine, clerk)
    await decide(engine, asked, lead)

    async def fail(connection: AsyncConnection) -> None:
        await take_approval(
            connection,
            approval_id=asked.id,
            executor_id=clerk,
            find_about=about,
            pepper=PEPPER,
            now_us=NOW_US,
        )
        raise RefusedError("person_unknown")

    assert await refused(write(engine, fail)) == "person_unknown"
    assert (await take(engine, asked, clerk)).executed_at is not None


async def test_who_asks_too_often_waits_for_answers(engine: AsyncEngine, lead: UUID) -> None:
    clerk = (await make_colleague(engine, "counter_clerk")).id
    asked = [await ask(engine, clerk) for _ in range(OPEN_MAX)]
    assert await refused(ask(engine, clerk)) == "approvals_too_many"
    await decide(engine, asked[0], lead)
    assert (await ask(engine, clerk)).decision is None


async def test_requests_are_listed_newest_first_by_what_they_are_for(
    engine: AsyncEngine, clerk: UUID, lead: UUID
) -> None:
    first = await ask(engine, clerk, now_us=NOW_US + 1_000)
    second = await ask(engine, clerk, action=Action.PERSON_RAISE, now_us=NOW_US + 2_000)
    await decide(engine, first, lead, decision="rejected", because="重複した申請")

    async def listed(*actions: Action, **changes: Any) -> list[UUID]:  # noqa: ANN401 - as below
        fields: dict[str, Any] = {"only_open": True, "before": None, "limit": 100, **changes}
        async with read(engine) as connection:
            found = await list_approvals(connection, actions=actions, now_us=NOW_US, **fields)
        return [one.id for one in found if one.requested_by == clerk]

    both = (Action.PERSON_UNFREEZE, Action.PERSON_RAISE)
    assert await listed(*both, only_open=False) == [second.id, first.id]
    assert await listed(*both) == [second.id]
    assert await listed(Action.PERSON_UNFREEZE, only_open=False) == [first.id]
    assert await listed(*both, only_open=False, before=second.id) == [first.id]
    assert await listed(Action.STAFF_ADD, only_open=False) == []


async def change(
    engine: AsyncEngine, approval: Approval, changed: str, **values: UUID
) -> DBAPIError:
    """Return how the database refuses a change of a request, or fail the test."""
    statement = text(f"UPDATE approval SET {changed} WHERE id = :id")  # noqa: S608 - a test's own
    with pytest.raises(DBAPIError) as caught:
        await write(
            engine,
            lambda connection: connection.execute(statement, {"id": approval.id, **values}),
        )
    return caught.value


@pytest.mark.attack(28)
@pytest.mark.parametrize(
    "changed",
    [
        "payload = '{}'",
        "subject = 'per_00000000000000000000000000000000'",
        "requested_by = :lead",
        "expires_at = expires_at + interval '1 day'",
    ],
)
async def test_the_application_cannot_bend_a_request(
    engine: AsyncEngine, clerk: UUID, lead: UUID, changed: str
) -> None:
    asked = await ask(engine, clerk)
    values = {"lead": lead} if ":lead" in changed else {}
    assert sqlstate_of(await change(engine, asked, changed, **values)) == "42501"


@pytest.mark.attack(28)
@pytest.mark.parametrize(
    "changed",
    [
        "decided_by = requested_by, decision = 'approved', decided_at = now()",
        "decided_by = :lead, decision = 'rejected', decided_at = now()",
        "decision = 'approved'",
        "executed_at = now()",
    ],
)
async def test_the_database_itself_wants_two(
    engine: AsyncEngine, clerk: UUID, lead: UUID, changed: str
) -> None:
    asked = await ask(engine, clerk)
    values = {"lead": lead} if ":lead" in changed else {}
    assert sqlstate_of(await change(engine, asked, changed, **values)) == "23514"


@pytest.mark.attack(28)
async def test_not_even_the_owner_changes_what_was_decided(
    module_database: Database, engine: AsyncEngine, clerk: UUID, lead: UUID
) -> None:
    asked = await ask(engine, clerk)
    await decide(engine, asked, lead)
    async with open_engine(module_database.owner_url, pool_size=1) as owner:
        for changed in ("payload = '{}'", "decision = 'rejected', decided_because = 'no'"):
            assert "stays as it is" in str(await change(owner, asked, changed))


@pytest.mark.attack(28)
async def test_what_somebody_with_all_rights_changes_after_the_approval_is_not_carried_out(
    database: Database,
) -> None:
    async with open_engine(database.application_url, pool_size=2) as engine:
        clerk = await make_colleague(engine, "counter_clerk")
        lead = await make_colleague(engine, "counter_lead")
        asked = await ask(engine, clerk.id)
        await decide(engine, asked, lead.id)
        victim = public_id("per", uuid4())
        unguarded = "ALTER TABLE approval DISABLE TRIGGER approval_decided_once;"
        moved = f"UPDATE approval SET subject = '{victim}';"  # noqa: S608 - a test's own
        run_sql(url=database.owner_url, script=unguarded + moved)
        assert await refused(take(engine, asked, clerk.id)) == "approval_changed"


async def test_a_second_of_waiting_is_no_reason_to_forget_who_decides(
    engine: AsyncEngine, clerk: UUID, lead: UUID
) -> None:
    """Whoever suspends an approver waits for the decision under way, or the decision for them."""
    asked = await ask(engine, clerk)
    suspended = asyncio.Event()

    async def suspend(connection: AsyncConnection) -> None:
        await suspend_member(connection, staff_id=lead, because="left", now_us=NOW_US)
        suspended.set()
        await asyncio.sleep(0.2)

    async def decide_meanwhile() -> str:
        await suspended.wait()
        return await refused(decide(engine, asked, lead))

    _, said = await asyncio.gather(write(engine, suspend), decide_meanwhile())
    assert said == "approver_not_entitled"


async def test_roles_are_read_when_it_counts(engine: AsyncEngine, clerk: UUID, lead: UUID) -> None:
    asked = await ask(engine, clerk)
    await write(
        engine,
        lambda connection: change_roles(
            connection, staff_id=lead, roles=frozenset({"counter_clerk"}), now_us=NOW_US
        ),
    )
    assert await refused(decide(engine, asked, lead)) == "approver_not_entitled"


async def test_who_is_only_invited_asks_for_nothing(engine: AsyncEngine) -> None:
    invited = await add(engine, "counter_clerk")
    assert await refused(ask(engine, invited)) == "permission_missing"


async def test_whoever_waits_for_an_answer_is_told_by_the_outbox(
    engine: AsyncEngine, clerk: UUID, lead: UUID
) -> None:
    asked = await ask(engine, clerk)
    await decide(engine, asked, lead)
    async with read(engine) as connection:
        rows = await connection.execute(
            text("SELECT kind, body FROM outbox WHERE body->>'approval_id' = :id ORDER BY seq"),
            {"id": str(asked.id)},
        )
        told = [(row.kind, row.body["action"]) for row in rows]
    assert told == [
        ("approval.requested", "person.unfreeze"),
        ("approval.approved", "person.unfreeze"),
    ]
    assert asked.expires_at == to_datetime(NOW_US + 72 * H_US)
