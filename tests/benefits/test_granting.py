"""Grants on the real ledger: once each, from the budget, into purses of the benefit."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from tests.factories import stops
from tests.factories.benefits import BENEFIT, CLAIM_UNTIL, YEN, Office, make_office, row, wallet_row
from tests.factories.moments import NOW_US, japanese
from tests.factories.people import make_wallet
from tests.factories.vouchers import give
from tests.patience import until
from wallet.benefits.grant import AGAIN_AFTER
from wallet.benefits.run_due import GRANTS_PER_BATCH
from wallet.benefits.steer_run import approve_run, pause_run, payload_of, withdraw_run
from wallet.core.clock import MICROSECONDS, TestClock
from wallet.core.database import read, write
from wallet.core.ids import numbered_id
from wallet.core.refusals import RefusedError
from wallet.ledger.chart import TRANSFER_GRANT
from wallet.ops import stop
from wallet.proof import prove
from wallet.worker import run_worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

AFTER_THE_LAST_DAY = japanese("2027-03-01T00:00")

TRANSFER = text("""
SELECT t.code, t.amount, t.user_data_128, t.user_data_32 = g.number AS is_marked,
       t.debit_account_id = g.budget_account_id AS from_budget, p.funding, p.expires_on,
       p.wallet_id
FROM transfer AS t JOIN purse AS p ON p.account_id = t.credit_account_id
JOIN programme AS g ON g.id = p.programme_id WHERE t.id = :id
""")
EVENTS = text("SELECT body FROM outbox WHERE kind = 'benefit.granted' ORDER BY seq")
SET_STATE = text("UPDATE wallet SET state = :state WHERE id = :id")
SPENDING_LINKED = text("SELECT state FROM benefit_run WHERE id = :id")


async def refused(work: object) -> str:
    """Return the code with which something was refused."""
    with pytest.raises(RefusedError) as caught:
        await work  # type: ignore[misc] # a coroutine
    return caught.value.refusal.code


async def set_state(office: Office, wallet_id: UUID, state: str) -> None:
    """Freeze or thaw a wallet."""
    values = {"state": state, "id": wallet_id}
    await write(office.engine, lambda connection: connection.execute(SET_STATE, values))


async def pause(office: Office, run_id: UUID, *, paused: bool) -> bool:
    """Hold a run up or let it go on."""
    return await write(
        office.engine,
        lambda connection: pause_run(connection, run_id=run_id, paused=paused, now_us=NOW_US),
    )


async def test_a_grant_is_free_money_of_the_benefit_out_of_its_budget(office: Office) -> None:
    wallet_id = await make_wallet(office.engine)
    run_id = await office.approved(wallet_row(wallet_id))
    assert await office.states(run_id) == ["draft"]  # The office itself moves nothing.
    worked = await office.work()
    assert (worked.opened, worked.granted) == (1, 1)
    (grant,) = await office.grants(run_id)
    assert (grant["state"], grant["wallet_id"]) == ("granted", wallet_id)
    async with read(office.engine) as connection:
        values = {"id": numbered_id(grant["id"], 1)}
        moved = (await connection.execute(TRANSFER, values)).one()
        told = (await connection.execute(EVENTS)).scalars().all()
    assert (moved.code, moved.amount, moved.user_data_128) == (TRANSFER_GRANT, YEN, wallet_id)
    assert (moved.is_marked, moved.from_budget, moved.funding) == (True, True, "free")
    assert told[-1] == {
        "grant_id": str(grant["id"]),
        "wallet_id": str(wallet_id),
        "amount_yen": YEN,
    }
    assert await office.held(wallet_id) == {BENEFIT: YEN}


async def test_however_often_and_by_how_many_a_run_is_worked_off_it_gives_once(
    office: Office,
) -> None:
    wallet_ids = [await make_wallet(office.engine) for _ in range(20)]
    run_id = await office.approved(*[wallet_row(wallet_id) for wallet_id in wallet_ids])
    rounds = await asyncio.gather(*[office.work() for _ in range(3)])
    assert sum(one.granted for one in rounds) == len(wallet_ids)
    assert (await office.work()).granted == 0
    for wallet_id in wallet_ids:
        assert await office.held(wallet_id) == {BENEFIT: YEN}
    assert (await office.look(run_id))[0].state == "done"


async def test_the_worker_gives_what_was_approved_without_being_asked(office: Office) -> None:
    wallet_id = await make_wallet(office.engine)
    await office.approved(wallet_row(wallet_id))
    working = asyncio.create_task(
        run_worker(database_url=office.database_url, clock=TestClock(NOW_US), pause_s=0.05)
    )

    async def has_come() -> bool:
        return await office.held(wallet_id) == {BENEFIT: YEN}

    await until(has_come)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_an_empty_budget_holds_a_grant_up_until_there_is_money(office: Office) -> None:
    poor = await make_office(
        office.engine, office.teller, office.database_url, benefit="emptied", budget_yen=YEN
    )
    wallet_id, other_id = await make_wallet(office.engine), await make_wallet(office.engine)
    run_id = await poor.approved(wallet_row(wallet_id))
    # Something else of the city's takes from the same budget before the worker comes.
    await give(office.teller, other_id, "emptied", amount_yen=1)
    assert (await poor.work()).held_up == 1
    (grant,) = await poor.grants(run_id)
    assert (grant["state"], grant["because"]) == ("due", "budget_exhausted")
    assert await poor.held(wallet_id) == {}


async def test_a_run_tells_how_many_are_granted_and_how_many_are_offered(office: Office) -> None:
    count = GRANTS_PER_BATCH + 20
    wallet_id = await make_wallet(office.engine)
    # The wallet is named by one row only; the others are people the city knows of later.
    run_id = await office.approved(wallet_row(wallet_id, amount=1), *[row() for _ in range(count)])
    assert (await office.work()).opened == count + 1
    _, totals = await office.look(run_id)
    assert {one.state: one.count for one in totals.groups} == {"granted": 1, "offered": count}


async def test_a_paused_run_gives_nothing_until_it_may_go_on(office: Office) -> None:
    wallet_id = await make_wallet(office.engine)
    run_id = await office.approved(wallet_row(wallet_id))
    assert await pause(office, run_id, paused=True)
    assert not await pause(office, run_id, paused=True)
    assert (await office.work()).granted == 0
    assert await office.held(wallet_id) == {}
    assert await pause(office, run_id, paused=False)
    assert (await office.work()).granted == 1


async def test_a_draft_is_not_paused_and_an_approved_run_is_not_withdrawn(office: Office) -> None:
    imported = await office.import_rows(row())
    assert await refused(pause(office, imported.run_id, paused=True)) == "benefit_run_not_approved"
    await office.approve(imported.run_id)
    withdrawing = write(
        office.engine, lambda connection: withdraw_run(connection, run_id=imported.run_id)
    )
    assert await refused(withdrawing) == "benefit_run_not_draft"


async def test_a_stop_of_issues_holds_a_run_up_without_losing_its_place(office: Office) -> None:
    wallet_id = await make_wallet(office.engine)
    run_id = await office.approved(wallet_row(wallet_id))
    how: dict[str, Any] = {"scope": "issue", "reason": "drill", "actor": "cli:tests"}
    await write(office.engine, lambda one: stop.engage(one, now_us=NOW_US, **how))
    assert (await office.work()).granted == 0
    (grant,) = await office.grants(run_id)
    assert (grant["state"], grant["because"]) == ("due", None)
    await write(office.engine, lambda one: stops.release(one, now_us=NOW_US, **how))
    assert (await office.work()).granted == 1


async def test_a_frozen_wallet_is_tried_again_later_and_says_why(office: Office) -> None:
    wallet_id, other_id = await make_wallet(office.engine), await make_wallet(office.engine)
    await set_state(office, wallet_id, "frozen")
    run_id = await office.approved(wallet_row(wallet_id), wallet_row(other_id))
    worked = await office.work()
    assert (worked.granted, worked.held_up) == (1, 1)
    (grant, _) = await office.grants(run_id)
    assert (grant["state"], grant["because"]) == ("due", "wallet_frozen")
    await set_state(office, wallet_id, "active")
    assert (await office.work()).granted == 0
    later_us = NOW_US + int(AGAIN_AFTER.total_seconds()) * MICROSECONDS
    assert (await office.work(now_us=later_us)).granted == 1
    assert await office.held(wallet_id) == {BENEFIT: YEN}


async def test_runs_that_do_not_fit_the_budget_together_are_not_both_approved(
    office: Office,
) -> None:
    small = await make_office(
        office.engine, office.teller, office.database_url, benefit="small", budget_yen=15_000
    )
    one, other = await small.import_rows(row()), await small.import_rows(row())
    assert (await small.look(one.run_id))[1].fits
    outcomes = await asyncio.gather(
        small.approve(one.run_id), small.approve(other.run_id), return_exceptions=True
    )
    (error,) = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(error, RefusedError)
    assert error.refusal.code == "benefit_budget_short"
    assert error.refusal.facts == {"missing_yen": 5_000}


async def test_what_was_agreed_to_is_what_is_approved(office: Office) -> None:
    imported = await office.import_rows(row())
    run, totals = await office.look(imported.run_id)
    payload = {**payload_of(run, totals), "amount_yen": 1}
    approving = write(
        office.engine,
        lambda connection: approve_run(connection, run_id=run.id, payload=payload, now_us=NOW_US),
    )
    assert await refused(approving) == "benefit_run_changed"
    assert replace(run) == (await office.look(run.id))[0]


async def test_a_roster_without_a_good_row_is_not_approved(office: Office) -> None:
    imported = await office.import_rows(row(amount=0))
    assert await refused(office.approve(imported.run_id)) == "benefit_run_empty"


async def test_what_nobody_claims_in_time_lapses_and_stays_in_the_budget(office: Office) -> None:
    frozen_id = await make_wallet(office.engine)
    await set_state(office, frozen_id, "frozen")
    run_id = await office.approved(row(), wallet_row(frozen_id))
    await office.work()
    assert await office.states(run_id) == ["offered", "due"]
    assert (await office.look(run_id))[0].claim_until == CLAIM_UNTIL
    assert (await office.work(now_us=AFTER_THE_LAST_DAY - 1)).lapsed == 0
    assert (await office.work(now_us=AFTER_THE_LAST_DAY)).lapsed >= 2
    assert await office.states(run_id) == ["lapsed", "lapsed"]
    assert (await office.look(run_id))[0].state == "done"


async def test_paper_and_bank_go_another_way_and_cost_this_budget_nothing(office: Office) -> None:
    known_id = await make_wallet(office.engine)
    run_id = await office.approved(
        row(delivery="paper"), row(delivery="bank"), row(delivery="card"),
        wallet_row(known_id, delivery="card"),
    )  # fmt: skip
    _, totals = await office.look(run_id)
    assert (totals.amount_yen, totals.budget_yen) == (4 * YEN, 2 * YEN)
    await office.work()
    assert await office.states(run_id) == ["elsewhere", "elsewhere", "elsewhere", "granted"]


async def test_after_all_of_it_every_yen_is_proven(office: Office) -> None:
    proof = await prove(office.engine, now_us=NOW_US)
    assert proof.ok, proof.as_dict()
