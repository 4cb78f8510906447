"""One's cards through the app: activated with the letter, seen, and blocked with one tap."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from tests.api.answers import problem_of
from tests.factories.card_batches import make_cards
from tests.factories.city import City
from tests.factories.pockets import Pocket, open_pocket
from tests.factories.residents import Resident, make_resident
from wallet.core.database import write
from wallet.core.ids import public_id
from wallet.people.card_batches import PrintedCard
from wallet.people.cool_off import cool_off

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARDS = "/app/v1/cards"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pocket(city: City) -> AsyncIterator[Pocket]:
    """Yield the app's doors in the module's city."""
    async with open_pocket(city) as pocket:
        yield pocket


async def resident_of(pocket: Pocket) -> Resident:
    """Return somebody with a phone."""
    return await make_resident(pocket.city.engine, now_us=pocket.city.clock())


async def card_of(pocket: Pocket) -> PrintedCard:
    """Return a card that came in the post."""
    (card,) = (await make_cards(pocket.city.engine)).cards
    return card


def body_of(card: PrintedCard, **changes: str) -> dict[str, str]:
    """Return what somebody types who holds a card and its letter."""
    return {"card": card.printed_number, "pin": card.pin, **changes}


async def test_a_card_from_the_post_pays_and_can_be_blocked(pocket: Pocket) -> None:
    resident, card = await resident_of(pocket), await card_of(pocket)
    phone = resident.phone
    assert (await pocket.app.call(phone, "GET", CARDS)).json() == {"data": []}
    activated = await pocket.app.call(
        phone, "POST", CARDS, {"card": card.qr_value, "pin": card.pin}
    )
    assert activated.status_code == 200, activated.text
    wallet_id = public_id("wal", resident.wallet_id)
    assert activated.json()["wallet_id"] == wallet_id
    (shown,) = (await pocket.app.call(phone, "GET", CARDS)).json()["data"]
    assert (shown["wallet_id"], shown["state"]) == (wallet_id, "active")
    assert shown["number"].replace(" ", "") == card.printed_number
    path = f"{CARDS}/{shown['id']}/block"
    for changed in (True, False):
        blocked = await pocket.app.call(phone, "POST", path, {})
        assert blocked.json() == {"id": shown["id"], "changed": changed}
    (shown,) = (await pocket.app.call(phone, "GET", CARDS)).json()["data"]
    assert shown["state"] == "blocked"


@pytest.mark.attack(4)
async def test_a_card_without_its_letter_is_nobodys(pocket: Pocket) -> None:
    resident, card = await resident_of(pocket), await card_of(pocket)
    wrong = f"{(int(card.pin) + 1) % 10**6:06}"
    problem_of(
        await pocket.app.call(resident.phone, "POST", CARDS, body_of(card, pin=wrong)),
        "card_pin_wrong",
    )
    for number in range(2):
        await pocket.app.call(resident.phone, "POST", CARDS, body_of(card, pin=f"10{number}257"))
    problem_of(
        await pocket.app.call(resident.phone, "POST", CARDS, body_of(card)), "too_many_tries"
    )


async def test_a_card_of_somebody_else_is_not_taken_over(pocket: Pocket) -> None:
    owner, other, card = (
        await resident_of(pocket),
        await resident_of(pocket),
        await card_of(pocket),
    )
    await pocket.app.call(owner.phone, "POST", CARDS, body_of(card))
    taken = await pocket.app.call(other.phone, "POST", CARDS, body_of(card))
    problem_of(taken, "card_of_another")
    (shown,) = (await pocket.app.call(owner.phone, "GET", CARDS)).json()["data"]
    blocked = await pocket.app.call(other.phone, "POST", f"{CARDS}/{shown['id']}/block", {})
    problem_of(blocked, "card_number_unknown")


async def test_a_card_pays_out_of_no_wallet_but_ones_own(pocket: Pocket) -> None:
    resident, other = await resident_of(pocket), await resident_of(pocket)
    card = await card_of(pocket)
    body = body_of(card, wallet_id=public_id("wal", other.wallet_id))
    problem_of(await pocket.app.call(resident.phone, "POST", CARDS, body), "wallet_unknown")


async def test_while_a_new_phone_cools_off_no_card_is_added(pocket: Pocket) -> None:
    resident, card = await resident_of(pocket), await card_of(pocket)
    cooled = partial(cool_off, person_id=resident.id, because="device", now_us=pocket.city.clock())
    await write(pocket.city.engine, cooled)
    refused = await pocket.app.call(resident.phone, "POST", CARDS, body_of(card))
    problem_of(refused, "card_cooling_off")
