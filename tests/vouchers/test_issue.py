"""Issuing on the real ledger: what is booked, what is refused, what is told."""

from collections.abc import AsyncIterator
from datetime import date
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories import stops
from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US, japanese
from tests.factories.people import make_wallet
from tests.factories.programmes import frame, free_draft, make_programme, voucher_draft
from tests.factories.vouchers import ask, give, make_request, purses_of
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import read, write
from wallet.core.ids import numbered_id
from wallet.core.refusals import Refusal
from wallet.ledger.teller import Teller
from wallet.ops import stop
from wallet.vouchers.issue import Issued, Refused
from wallet.vouchers.issue_many import issue_many
from wallet.vouchers.rules import IssueRequest

Rooms = tuple[AsyncEngine, Teller]

LAST_DAY = date(2027, 3, 31)

TRANSFERS = text("""
SELECT t.id, t.flags, t.code, t.amount, t.user_data_128, t.user_data_64, t.user_data_32,
       t.debit_account_id = g.clearing_account_id AS from_clearing,
       t.debit_account_id = g.budget_account_id AS from_budget, p.funding, p.expires_on
FROM transfer AS t JOIN purse AS p ON p.account_id = t.credit_account_id
JOIN programme AS g ON g.id = p.programme_id
WHERE p.wallet_id = :wallet_id ORDER BY t.timestamp
""")
EVENTS = text("SELECT kind, body FROM outbox WHERE body ->> 'wallet_id' = :wallet_id ORDER BY seq")
SET_STATE = text("UPDATE wallet SET state = :state WHERE id = :id")


@pytest.fixture
async def rooms(module_database: Database) -> AsyncIterator[Rooms]:
    """Yield an engine and a teller on the module's city."""
    async with open_rooms(module_database.application_url) as rooms:
        yield rooms


async def refused(teller: Teller, request: IssueRequest) -> Refusal:
    """Return why a request was refused."""
    answer = await ask(teller, request)
    assert isinstance(answer, Refused), answer
    return answer.refusal


async def set_state(engine: AsyncEngine, wallet_id: UUID, state: str) -> None:
    """Freeze, close or thaw a wallet."""
    values = {"state": state, "id": wallet_id}
    await write(engine, lambda connection: connection.execute(SET_STATE, values))


async def test_an_issue_is_one_chain_from_clearing_and_budget(rooms: Rooms) -> None:
    engine, teller = rooms
    created = await make_programme(teller, voucher_draft("chain"))
    wallet_id = await make_wallet(engine)
    request = make_request(wallet_id, "chain", sets=2)
    answer = await ask(teller, request)
    assert answer == Issued(
        request.issue_id, wallet_id, "chain", 2, price_yen=10_000, face_yen=12_500, replayed=False
    )
    async with read(engine) as connection:
        paid, premium = (await connection.execute(TRANSFERS, {"wallet_id": wallet_id})).all()
    assert [paid.id, premium.id] == [numbered_id(request.issue_id, n) for n in (1, 2)]
    assert (paid.flags, premium.flags) == (1, 0)  # Linked, and the end of the chain.
    assert (paid.amount, paid.from_clearing, paid.funding) == (10_000, True, "paid")
    assert (premium.amount, premium.from_budget, premium.funding) == (2_500, True, "premium")
    for one in (paid, premium):
        marks = (one.code, one.user_data_128, one.user_data_64, one.user_data_32)
        assert marks == (20, wallet_id, 2, created.number)
        assert one.expires_on == LAST_DAY


async def test_purses_are_opened_once_and_filled_again(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, voucher_draft("twice"))
    wallet_id = await make_wallet(engine)
    assert await purses_of(engine, wallet_id) == {}
    await give(teller, wallet_id, "twice", sets=1)
    await give(teller, wallet_id, "twice", sets=3)
    assert await purses_of(engine, wallet_id) == {"twice paid": 20_000, "twice premium": 5_000}


async def test_free_money_fills_one_free_purse(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, free_draft("points"))
    wallet_id = await make_wallet(engine)
    issued = await give(teller, wallet_id, "points", amount_yen=500)
    assert (issued.price_yen, issued.face_yen) == (0, 500)
    assert await purses_of(engine, wallet_id) == {"points free": 500}


async def test_a_repeat_is_answered_as_one_and_moves_nothing(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, voucher_draft("repeat"))
    wallet_id = await make_wallet(engine)
    request = make_request(wallet_id, "repeat", sets=10)
    first = await ask(teller, request)
    second = await ask(teller, request)
    assert isinstance(first, Issued)
    assert second == replace(first, replayed=True)
    assert await purses_of(engine, wallet_id) == {"repeat paid": 50_000, "repeat premium": 12_500}


async def test_an_id_is_not_used_for_anything_else(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, voucher_draft("first"))
    await make_programme(teller, voucher_draft("second"))
    await make_programme(teller, free_draft("third"))
    request = make_request(await make_wallet(engine), "first", sets=1)
    free = make_request(request.wallet_id, "third", amount_yen=10)
    await ask(teller, request)
    await ask(teller, free)
    for other in (
        replace(request, sets=2),
        replace(request, programme="second"),
        replace(request, wallet_id=await make_wallet(engine)),
        replace(free, amount_yen=11),
    ):
        refusal = await refused(teller, other)
        assert refusal == Refusal("idempotency_conflict", {"issue_id": other.issue_id})


async def test_an_exhausted_budget_issues_neither_premium_nor_paid(rooms: Rooms) -> None:
    engine, teller = rooms
    draft = replace(voucher_draft("poor"), budget_yen=2_000)
    await make_programme(teller, draft)
    wallet_id = await make_wallet(engine)
    refusal = await refused(teller, make_request(wallet_id, "poor", sets=2))
    assert refusal == Refusal("budget_exhausted", {"left_yen": 2_000})
    assert await purses_of(engine, wallet_id) == {}
    await give(teller, wallet_id, "poor", sets=1)


async def test_nobody_gets_more_than_their_sets(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, voucher_draft("quota"))
    wallet_id = await make_wallet(engine)
    await give(teller, wallet_id, "quota", sets=7)
    refusal = await refused(teller, make_request(wallet_id, "quota", sets=4))
    facts = {"sets_per_person": 10, "left_sets": 3}
    assert refusal == Refusal("sets_per_person_exceeded", facts)
    await give(teller, wallet_id, "quota", sets=3)


async def test_there_are_no_more_sets_than_there_are(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, voucher_draft("few", frame_=frame(sets_total=12)))
    await give(teller, await make_wallet(engine), "few", sets=10)
    late = await make_wallet(engine)
    refusal = await refused(teller, make_request(late, "few", sets=3))
    assert refusal == Refusal("sets_sold_out", {"left_sets": 2})
    await give(teller, late, "few", sets=2)


@pytest.mark.parametrize("scope", ["all", "issue", "programme:stopped"])
async def test_a_stop_holds_issuing_up_and_its_end_lets_it_go_on(rooms: Rooms, scope: str) -> None:
    engine, teller = rooms
    await make_programme(teller, free_draft("stopped"))
    request = make_request(await make_wallet(engine), "stopped", amount_yen=100)

    async def change(connection: AsyncConnection) -> None:
        action = stops.release if await stop.engaged_scopes(connection) else stop.engage
        await action(connection, scope=scope, reason="drill", actor="cli:test", now_us=NOW_US)

    await write(engine, change)
    try:
        assert await refused(teller, request) == Refusal("service_stopped")
    finally:
        await write(engine, change)
    # Nothing was kept of the refusal: the same id is issued now.
    assert isinstance(await ask(teller, request), Issued)


@pytest.mark.parametrize("state", ["frozen", "closed"])
async def test_a_wallet_that_is_not_active_receives_nothing(rooms: Rooms, state: str) -> None:
    engine, teller = rooms
    await make_programme(teller, free_draft("frost"))
    request = make_request(await make_wallet(engine), "frost", amount_yen=100)
    await set_state(engine, request.wallet_id, state)
    assert await refused(teller, request) == Refusal("wallet_frozen")
    await set_state(engine, request.wallet_id, "active")
    assert isinstance(await ask(teller, request), Issued)


async def test_whom_and_what_nobody_knows_is_refused_by_name(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, free_draft("known"))
    refusal = await refused(teller, make_request(uuid4(), "known", amount_yen=1))
    assert refusal == Refusal("wallet_unknown")
    refusal = await refused(teller, make_request(await make_wallet(engine), "nix", amount_yen=1))
    assert refusal == Refusal("programme_unknown", {"programme": "nix"})


async def test_the_last_second_of_the_last_day_in_japan_still_issues(
    module_database: Database,
) -> None:
    clock = TestClock(japanese("2027-03-31T23:59:59.999999"))
    async with open_rooms(module_database.application_url, clock=clock) as (engine, teller):
        await make_programme(teller, free_draft("ending"))
        wallet_id = await make_wallet(engine)
        await give(teller, wallet_id, "ending", amount_yen=10)
        clock.advance(seconds=0.000001)
        refusal = await refused(teller, make_request(wallet_id, "ending", amount_yen=10))
    assert refusal == Refusal("outside_period", {"last_day": LAST_DAY})


async def test_what_was_issued_is_told_once_and_a_refusal_not_at_all(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, voucher_draft("told"))
    request = make_request(await make_wallet(engine), "told", sets=2)
    await ask(teller, request)
    await ask(teller, request)
    await refused(teller, make_request(request.wallet_id, "told", sets=9))
    wallet = str(request.wallet_id)
    async with read(engine) as connection:
        ((kind, body),) = await connection.execute(EVENTS, {"wallet_id": wallet})
    assert kind == "voucher.issued"
    assert body == {
        "issue_id": str(request.issue_id),
        "wallet_id": wallet,
        "programme": "told",
        "sets": 2,
        "price_yen": 10_000,
        "face_yen": 12_500,
    }


async def test_many_are_answered_in_order_and_again_as_repeats(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, voucher_draft("many"))
    wallet_ids = [await make_wallet(engine) for _ in range(3)]
    requests = [make_request(wallet_ids[n], "many", sets=(1, 11, 2)[n]) for n in range(3)]
    done: list[int] = []
    answers = await issue_many(teller, requests=requests, on_progress=done.append)
    assert [isinstance(answer, Issued) for answer in answers] == [True, False, True]
    assert done == [3]
    again = await issue_many(teller, requests=requests)
    assert [getattr(answer, "replayed", None) for answer in again] == [True, None, True]
