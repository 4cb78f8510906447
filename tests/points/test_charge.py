"""Charges: asked for within ceilings, paid at a provider, and turned into coin exactly once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.factories.city import City
from tests.factories.moments import NOW, NOW_US
from tests.factories.payments import engage, release
from tests.factories.planting import failed
from tests.factories.points import TODAY, make_person, purses_in, put_off
from tests.factories.programmes import make_programme, spending
from tests.factories.residents import Resident, row_of, within
from wallet.core.clock import MICROSECONDS, TestClock
from wallet.core.ids import align_id, new_id
from wallet.core.refusals import Refusal, RefusedError
from wallet.ledger.work import Batch
from wallet.people.cool_off import cool_off
from wallet.people.rules import Tier
from wallet.points import request_charge as asking
from wallet.points import run_due as running
from wallet.points.charge import CHARGE, ChargeFacts, ChargeWork
from wallet.points.request_charge import (
    PAYABLE_S,
    Charge,
    NewCharge,
    list_charges,
    request_charge,
)
from wallet.points.run_due import run_due
from wallet.programmes.bonus import Bonus
from wallet.programmes.terms import Caps, Eligibility, Expiry, Kind, ProgrammeDraft
from wallet.proof import prove
from wallet.receipts.note_receipt import NOTE, NoteReceipt, ReceiptNoted
from wallet.receipts.rules import Method

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the confirmation that a card takes: tests/api shows it through the doors."""

    async def used(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(asking, "use_step_up", used)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def coin(city: City) -> str:
    """Create a coin that is charged."""
    return await make_chargeable(city)


async def make_chargeable(city: City, **changes: Any) -> str:  # noqa: ANN401 - of many types
    """Create a coin that is charged, good for six months to the end of the month."""
    code = f"coin-{uuid4()}"
    fields = {
        "code": code,
        "name": "地域コイン",
        "kind": Kind.COIN,
        "spending": spending(),
        "expiry": Expiry(rule="months_after_issue", months=3),
    }
    await make_programme(city.teller, ProgrammeDraft(**{**fields, **changes}))
    return code


async def ask(
    city: City,
    person: Resident,
    coin: str,
    *,
    yen: int = 3_000,
    method: Method = Method.CONVENIENCE,
    **changes: Any,  # noqa: ANN401 - as above
) -> Charge:
    """Ask to charge."""
    fields: dict[str, Any] = {
        "person_id": person.id,
        "idempotency_key": str(uuid4()),
        "programme": coin,
        "amount_yen": yen,
        "method": method,
    }
    new = NewCharge(**{**fields, **changes})
    approval: Any = object()  # Nobody looks at it here.
    work = partial(request_charge, new=new, approval=approval, now_us=city.clock())
    return await within(city.engine, work)


async def refusal_to(city: City, person: Resident, coin: str, **changes: Any) -> str:  # noqa: ANN401 - as above
    """Return why somebody may not charge."""
    with pytest.raises(RefusedError) as raised:
        await ask(city, person, coin, **changes)
    return raised.value.refusal.code


async def paid(city: City, charge: Charge) -> None:
    """Let the provider report the money."""
    report = NoteReceipt(
        receipt_id=align_id(new_id(now_us=city.clock())),
        provider=charge.slip.method,
        provider_event=str(uuid4()),
        reference=charge.slip.reference,
        amount_yen=charge.slip.amount_yen,
        received_us=city.clock(),
        authenticated=True,
    )
    noted = await city.teller.submit(NOTE, report)
    assert isinstance(noted, ReceiptNoted), noted
    assert noted.because is None


async def work(city: City) -> None:
    """Let the worker do what is due."""
    await run_due(city.engine, city.database_url, city.clock)


async def state_of(city: City, person: Resident) -> list[str]:
    """Return the states of somebody's charges, newest first."""
    async with city.engine.connect() as connection:
        now = NOW + timedelta(microseconds=city.clock() - NOW_US)
        found = await list_charges(connection, person_id=person.id, now=now)
    return [one.state for one in found]


async def test_what_was_paid_becomes_paid_money_once(city: City, coin: str) -> None:
    person = await make_person(city.engine)
    charge = await ask(city, person, coin)
    assert await state_of(city, person) == ["waiting"]
    await work(city)
    assert await purses_in(city.engine, person.wallet_id, coin) == []
    await paid(city, charge)
    assert await state_of(city, person) == ["paid"]
    for _ in range(2):
        await work(city)
    assert await state_of(city, person) == ["charged"]
    assert await purses_in(city.engine, person.wallet_id, coin) == [
        ("paid", date(2027, 2, 28), 3_000, 0)
    ]


async def test_two_workers_at_once_fill_a_purse_once(city: City, coin: str) -> None:
    person = await make_person(city.engine)
    charge = await ask(city, person, coin)
    await paid(city, charge)
    answers = await asyncio.gather(*[city.teller.submit(CHARGE, charge.id) for _ in range(6)])
    assert answers == [None] * 6
    await work(city)
    assert [one[2] for one in await purses_in(city.engine, person.wallet_id, coin)] == [3_000]


async def test_a_repeat_is_given_the_same_slip(city: City, coin: str) -> None:
    person = await make_person(city.engine)
    first, second = [await ask(city, person, coin, idempotency_key="one") for _ in range(2)]
    assert first == second
    refusal = await refusal_to(city, person, coin, idempotency_key="one", yen=3_001)
    assert refusal == "idempotency_conflict"


async def test_a_tier_bounds_what_a_wallet_holds(city: City, coin: str) -> None:
    person = await make_person(city.engine, tier=Tier.DEVICE)  # 100,000 yen
    await paid(city, await ask(city, person, coin, yen=60_000))
    await work(city)
    await ask(city, person, coin, yen=30_000)  # It waits, and counts.
    assert await refusal_to(city, person, coin, yen=10_001) == "balance_limit"
    await ask(city, person, coin, yen=10_000)


async def test_charges_asked_for_at_once_stay_within_the_ceiling(city: City) -> None:
    capped, person = await make_chargeable(city, caps=Caps(balance_yen=5_000)), None
    person = await make_person(city.engine)
    answers = await asyncio.gather(
        *[ask(city, person, capped, yen=2_000) for _ in range(6)], return_exceptions=True
    )
    assert sum(isinstance(one, Charge) for one in answers) == 2


@pytest.mark.attack("A1")
async def test_a_first_charge_by_card_is_small(city: City, coin: str) -> None:
    person, card = await make_person(city.engine), {"method": Method.CARD}
    assert await refusal_to(city, person, coin, yen=5_001, **card) == "charge_first_card"
    first = await ask(city, person, coin, yen=4_000, **card)
    assert await refusal_to(city, person, coin, yen=1_001, **card) == "charge_first_card"
    await paid(city, first)
    await work(city)
    await ask(city, person, coin, yen=20_000, **card)


@pytest.mark.attack(6)
async def test_a_card_waits_while_a_change_cools_off(city: City, coin: str) -> None:
    person, card = await make_person(city.engine), {"method": Method.CARD}
    soon = NOW + timedelta(seconds=1)
    refusal = await refusal_to(city, person, coin, cooling_until=soon, **card)
    assert refusal == "charge_cooling_off"
    await within(city.engine, partial(cool_off, person_id=person.id, because="test", now_us=NOW_US))
    assert await refusal_to(city, person, coin, **card) == "charge_cooling_off"
    await ask(city, person, coin)  # In cash, at a shop.


async def test_only_coin_is_charged(city: City) -> None:
    person = await make_person(city.engine)
    assert await refusal_to(city, person, "coin") == "charge_not_allowed"  # Points, by its terms.
    assert await refusal_to(city, person, "nothing") == "programme_unknown"
    over = await make_chargeable(city, spending=spending(last_day=TODAY + timedelta(days=1)))
    assert await refusal_to(city, person, over) == "points_over"


async def test_coin_that_has_not_begun_is_not_charged(city: City) -> None:
    coin = await make_chargeable(city)
    await put_off(city, coin)
    assert await refusal_to(city, await make_person(city.engine), coin) == "programme_not_live"


async def test_residents_coin_is_not_charged_by_others(city: City) -> None:
    coin = await make_chargeable(city, eligibility=Eligibility(resident=True))
    person = await make_person(city.engine)
    assert await refusal_to(city, person, coin) == "holder_not_eligible"


async def test_a_stop_holds_up_asking_and_filling(city: City, coin: str) -> None:
    person = await make_person(city.engine)
    charge = await ask(city, person, coin)
    await paid(city, charge)
    await engage(city, "charge")
    try:
        assert await refusal_to(city, person, coin) == "service_stopped"
        await work(city)
        assert await state_of(city, person) == ["paid"]
    finally:
        await release(city, "charge")
    await work(city)
    assert await state_of(city, person) == ["charged"]


async def test_charges_that_cannot_be_filled_keep_no_others_waiting(
    city: City, coin: str, later: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CHARGES_PER_PAGE", 1)
    stopped = await make_chargeable(city)
    first, second = [await make_person(city.engine) for _ in range(2)]
    await paid(city, await ask(city, first, stopped))
    later.now_us += MICROSECONDS  # Orders come by their ids, which are by time.
    await paid(city, await ask(city, second, coin))
    await engage(city, f"programme:{stopped}")
    try:
        await work(city)
        assert await state_of(city, first) == ["paid"]
        assert await state_of(city, second) == ["charged"]
    finally:
        await release(city, f"programme:{stopped}")
    await work(city)
    assert await state_of(city, first) == ["charged"]


async def test_a_charge_that_fails_keeps_no_others_from_being_settled(
    city: City, coin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [await make_person(city.engine) for _ in range(3)]
    charges = [await ask(city, person, coin) for person in people]
    for charge in charges:
        await paid(city, charge)
    decide = ChargeWork.decide

    def fail(self: ChargeWork, request: UUID, facts: ChargeFacts, batch: Batch) -> Refusal | None:
        if request == charges[1].id:
            message = "a charge that cannot be decided"
            raise RuntimeError(message)
        return decide(self, request, facts, batch)

    with monkeypatch.context() as patched:
        patched.setattr(ChargeWork, "decide", fail)
        await work(city)
    unsettled = text("""
        SELECT reference_id FROM receipt_order
        WHERE reference_id = ANY(:ids) AND settled_at IS NULL
    """)
    async with city.engine.connect() as connection:
        left = await connection.execute(unsettled, {"ids": [one.id for one in charges]})
        assert list(left.scalars()) == [charges[1].id]
    await work(city)
    assert await state_of(city, people[1]) == ["charged"]


@pytest_asyncio.fixture(loop_scope="module")
async def later(city: City) -> AsyncIterator[TestClock]:
    """Yield the clock, and set it back afterwards."""
    assert isinstance(city.clock, TestClock)
    yield city.clock
    city.clock.now_us = NOW_US


async def test_what_nobody_paid_makes_room_again(city: City, later: TestClock) -> None:
    capped = await make_chargeable(city, caps=Caps(balance_yen=5_000))
    person = await make_person(city.engine)
    await ask(city, person, capped, yen=5_000)
    assert await refusal_to(city, person, capped, yen=1) == "balance_limit"
    later.now_us += PAYABLE_S * MICROSECONDS
    assert await state_of(city, person) == ["over"]
    await ask(city, person, capped, yen=5_000)


async def test_a_bonus_for_charging_is_due_once(city: City) -> None:
    bonus = Bonus(code="topup", on="charge", percent=1)
    coin = await make_chargeable(city, bonuses=(bonus,), budget_yen=1_000)
    person = await make_person(city.engine)
    await paid(city, await ask(city, person, coin))
    for _ in range(2):
        await work(city)
    due = await row_of(
        city.engine,
        "SELECT event, base_yen FROM bonus_due WHERE wallet_id = :id",
        id=person.wallet_id,
    )
    assert due == {"event": "charge", "base_yen": 3_000}


async def test_an_unknown_charge_fills_nothing(city: City) -> None:
    refusal = await city.teller.submit(CHARGE, UUID(int=1))
    assert refusal.code == "charge_unknown"


async def test_every_charge_is_told_once(city: City) -> None:
    async with city.engine.connect() as connection:
        told = await connection.execute(
            text("SELECT body ->> 'charge_id' FROM outbox WHERE kind = 'charge.completed'")
        )
        charges = list(told.scalars())
    assert len(charges) == len(set(charges)) > 0


async def test_the_proof_is_green_after_charges(city: City) -> None:
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, failed(proof.checks)
