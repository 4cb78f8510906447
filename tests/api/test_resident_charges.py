"""The app's door of charges: the number to pay by, and what a card takes besides."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest
import pytest_asyncio

from tests.api.answers import problem_of
from tests.factories.city import City
from tests.factories.pockets import V1, Pocket, open_pocket
from tests.factories.points import make_person, yen_in
from tests.factories.programmes import make_programme, spending
from tests.factories.residents import Resident
from wallet.core.ids import align_id, new_id
from wallet.points.run_due import run_due
from wallet.programmes.terms import Kind, ProgrammeDraft
from wallet.receipts.note_receipt import NOTE, NoteReceipt, ReceiptNoted
from wallet.receipts.rules import Method, is_reference

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pocket(city: City) -> AsyncIterator[Pocket]:
    """Yield the app's doors in the module's city."""
    async with open_pocket(city) as pocket:
        yield pocket


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def coin(city: City) -> str:
    """Create a coin that is charged."""
    draft = ProgrammeDraft(
        code="shirasagi-coin", name="地域コイン", kind=Kind.COIN, spending=spending()
    )
    await make_programme(city.teller, draft)
    return draft.code


async def charge(
    pocket: Pocket,
    person: Resident,
    coin: str,
    *,
    method: str = "convenience",
    yen: int = 2_000,
    key: str | None = None,
    **headers: str,
) -> httpx.Response:
    """Ask to charge as a phone does."""
    body = {"programme": coin, "amount_yen": yen, "method": method}
    sent = {"idempotency_key": key or str(uuid4()), **headers}
    return await pocket.app.call(person.phone, "POST", f"{V1}/charges", body, **sent)


async def listed(pocket: Pocket, person: Resident) -> list[dict[str, Any]]:
    """Return somebody's charges."""
    answer = await pocket.app.call(person.phone, "GET", f"{V1}/charges")
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def pay(city: City, slip: dict[str, Any]) -> None:
    """Let the provider report the money, and the worker do its round."""
    report = NoteReceipt(
        receipt_id=align_id(new_id(now_us=city.clock())),
        provider=Method(slip["method"]),
        provider_event=str(uuid4()),
        reference=slip["reference"],
        amount_yen=slip["amount_yen"],
        received_us=city.clock(),
        authenticated=True,
    )
    assert isinstance(await city.teller.submit(NOTE, report), ReceiptNoted)
    await run_due(city.engine, city.database_url, city.clock)


async def test_a_charge_is_asked_for_paid_and_there(pocket: Pocket, coin: str) -> None:
    person = await make_person(pocket.city.engine)
    first, second = [await charge(pocket, person, coin, key="one") for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    slip = first.json()
    assert slip == second.json()
    assert is_reference(slip["reference"])
    assert slip["card_order"] is None
    (waiting,) = await listed(pocket, person)
    assert (waiting["id"], waiting["state"]) == (slip["id"], "waiting")
    await pay(pocket.city, slip)
    (done,) = await listed(pocket, person)
    assert done["state"] == "charged"
    assert await yen_in(pocket.city.engine, person, coin) == 2_000


@pytest.mark.attack("A1")
async def test_a_card_takes_a_confirmation_of_just_this_charge(pocket: Pocket, coin: str) -> None:
    person, key = await make_person(pocket.city.engine), str(uuid4())
    told = problem_of(
        await charge(pocket, person, coin, method="card", key=key), "step_up_required"
    )
    assert told["summary"] == {"amount_yen": 2_000, "programme": coin, "method": "card"}
    assert await listed(pocket, person) == []
    assert (await pocket.sign(person.phone, told)).status_code == 200
    step_up = told["challenge_id"]
    more = await charge(pocket, person, coin, method="card", yen=2_001, key=key, step_up=step_up)
    problem_of(more, "step_up_mismatch")
    made = await charge(pocket, person, coin, method="card", key=key, step_up=step_up)
    assert made.status_code == 201, made.text
    assert "." in made.json()["card_order"]
    again = await charge(pocket, person, coin, method="card", key=key)
    assert again.json()["id"] == made.json()["id"]  # A repeat is not asked once more.
    used = await charge(pocket, person, coin, method="card", step_up=step_up)
    problem_of(used, "step_up_used")


async def test_nobody_is_asked_for_what_could_not_be_charged(pocket: Pocket, coin: str) -> None:
    person = await make_person(pocket.city.engine)
    problem_of(await charge(pocket, person, coin, method="card", yen=5_001), "charge_first_card")
    problem_of(await charge(pocket, person, "coin"), "charge_not_allowed")
    problem_of(await charge(pocket, person, coin, method="cash"), "request_invalid")
