"""Cards in numbers: printed once, told to nobody afterwards, and nobody's until activated."""

from functools import partial
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.card_batches import activate, activated_card, make_cards
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.people import make_card, make_wallet
from wallet.core.database import read, write
from wallet.core.ids import keyed_hash
from wallet.core.refusals import Refusal, RefusedError
from wallet.people.activate_cards import Activated, assign_card
from wallet.people.card_batches import (
    CardOrder,
    cancel_batch,
    check_order,
    find_batch,
    list_batches,
    read_print_file,
    read_shipping_list,
    ship_batch,
)
from wallet.people.card_pin import WRONG
from wallet.people.cards import block_card, find_card, list_cards, replace_card, void_blank
from wallet.people.persons import open_person
from wallet.people.rules import Tier, read_printed_number

BLANKS = text("SELECT blank_card::text FROM blank_card WHERE batch_id = :id ORDER BY number")
PAYS = text("""
SELECT c.wallet_id, c.state, c.payment_limit_yen, s.spent_yen
FROM card AS c JOIN spending AS s ON s.holder_id = c.id WHERE c.number_hash = :hash
""")
REPLACEMENT = text("""
SELECT from_wallet_id, to_wallet_id, moved_at IS NOT NULL FROM card_replacement
WHERE old_card_id = :id
""")


async def pays(engine: AsyncEngine, qr_value: str) -> tuple[UUID, str, int, int] | None:
    """Return what the till finds of a card, None when it knows no such card."""
    async with read(engine) as connection:
        values = {"hash": keyed_hash(qr_value, pepper=PEPPER)}
        row = (await connection.execute(PAYS, values)).one_or_none()
    return None if row is None else tuple(row)


async def test_cards_are_printed_with_numbers_and_pins_of_their_own(city: AsyncEngine) -> None:
    box = await make_cards(city, cards=50)
    assert [card.number for card in box.cards] == list(range(1, 51))
    assert len({card.printed_number for card in box.cards}) == 50
    assert all(read_printed_number(card.printed_number) for card in box.cards)
    assert len({card.qr_value for card in box.cards}) == 50
    assert all(len(card.pin) == 6 and card.pin.isdigit() for card in box.cards)


async def test_what_was_printed_is_kept_sealed_and_forgotten_when_it_is_shipped(
    city: AsyncEngine,
) -> None:
    box = await make_cards(city, cards=2, ship=False)
    again = await write(city, partial(read_print_file, batch_id=box.batch_id, pepper=PEPPER))
    assert again == box.cards
    async with read(city) as connection:
        kept = " ".join((await connection.execute(BLANKS, {"id": box.batch_id})).scalars())
    for card in box.cards:
        assert card.qr_value.removeprefix("card_") not in kept
        assert card.qr_value.encode().hex() not in kept
    await write(city, partial(ship_batch, batch_id=box.batch_id, now_us=NOW_US))
    with pytest.raises(RefusedError, match="batch_shipped"):
        await write(city, partial(read_print_file, batch_id=box.batch_id, pepper=PEPPER))
    with pytest.raises(RefusedError, match="batch_shipped"):
        await write(city, partial(ship_batch, batch_id=box.batch_id, now_us=NOW_US))


async def test_the_shipping_list_says_for_whom_each_card_is(city: AsyncEngine) -> None:
    wallet_ids = tuple([await make_wallet(city) for _ in range(2)])
    box = await make_cards(city, wallet_ids=wallet_ids)
    async with read(city) as connection:
        listed = await read_shipping_list(connection, batch_id=box.batch_id)
    assert [one.wallet_id for one in listed] == list(wallet_ids)
    assert [one.printed_number for one in listed] == [card.printed_number for card in box.cards]


async def test_the_till_knows_a_card_once_it_is_activated(city: AsyncEngine) -> None:
    box = await make_cards(city, payment_limit_yen=1_000, daily_limit_yen=2_000)
    (card,) = box.cards
    assert await pays(city, card.qr_value) is None
    wallet_id = await make_wallet(city)
    activated = await activate(city, card.qr_value, card.pin, wallet_id=wallet_id)
    assert isinstance(activated, Activated)
    assert activated.new
    assert await pays(city, card.qr_value) == (wallet_id, "active", 1_000, 0)
    again = await activate(city, card.printed_number, card.pin, wallet_id=wallet_id)
    assert again == Activated(activated.card_id, wallet_id, new=False)
    other = await activate(city, card.printed_number, card.pin, wallet_id=await make_wallet(city))
    assert other == Refusal("card_of_another")
    async with read(city) as connection:
        batch = await find_batch(connection, batch_id=box.batch_id)
        (newest, *_) = await list_batches(connection, before=None, limit=100)
    assert (batch.state, batch.activated) == ("shipped", 1)
    assert newest.cards >= 1


@pytest.mark.attack(4)
async def test_a_wrong_pin_a_number_of_no_card_and_a_card_in_the_house_sound_alike(
    city: AsyncEngine,
) -> None:
    (card,) = (await make_cards(city)).cards
    (inside,) = (await make_cards(city, ship=False)).cards
    wallet_id = await make_wallet(city)
    wrong = f"{(int(card.pin) + 1) % 10**6:06}"
    for shown, pin in (
        (card.printed_number, wrong),
        (inside.printed_number, inside.pin),
        ("0000 0000 0000", card.pin),
        ("card_nothing", card.pin),
        (card.printed_number, "12345"),
        (card.printed_number, "十二三四五六"),
    ):
        assert await activate(city, shown, pin, wallet_id=wallet_id) == WRONG
    assert await pays(city, card.qr_value) is None


@pytest.mark.attack(4)
async def test_a_card_closes_after_three_wrong_pins(city: AsyncEngine) -> None:
    (card,) = (await make_cards(city)).cards
    wallet_id = await make_wallet(city)
    for number in range(3):
        assert await activate(city, card.printed_number, f"90{number}417") == WRONG
    refused = await activate(city, card.qr_value, card.pin, wallet_id=wallet_id)
    assert isinstance(refused, Refusal)
    assert refused.code == "too_many_tries"


async def test_a_card_without_a_phone_has_a_wallet_of_its_own(city: AsyncEngine) -> None:
    card, activated = await activated_card(city)
    found = await pays(city, card.qr_value)
    assert found is not None
    assert found[0] == activated.wallet_id


async def test_a_card_that_was_printed_for_a_wallet_is_no_others(city: AsyncEngine) -> None:
    wallet_id = await make_wallet(city)
    (card,) = (await make_cards(city, wallet_ids=(wallet_id,))).cards
    stranger = await make_wallet(city)
    refused = await activate(city, card.printed_number, card.pin, wallet_id=stranger)
    assert refused == Refusal("card_of_another")
    activated = await activate(city, card.printed_number, card.pin)
    assert isinstance(activated, Activated)
    assert activated.wallet_id == wallet_id


async def test_a_wallet_has_three_cards_at_most(city: AsyncEngine) -> None:
    wallet_id = await make_wallet(city)
    for _ in range(3):
        await activated_card(city, wallet_id=wallet_id)
    (card,) = (await make_cards(city)).cards
    refused = await activate(city, card.printed_number, card.pin, wallet_id=wallet_id)
    assert refused == Refusal("cards_too_many", {"most": 3})


async def test_a_card_can_be_assigned_without_its_pin(city: AsyncEngine) -> None:
    (card,) = (await make_cards(city)).cards
    wallet_id = await make_wallet(city)
    number = card.printed_number
    assign = partial(assign_card, number=number, wallet_id=wallet_id, now_us=NOW_US)
    activated = await write(city, assign)
    assert activated.wallet_id == wallet_id
    with pytest.raises(RefusedError, match="card_number_unknown"):
        await write(city, assign)


async def test_a_cancelled_batch_activates_no_more(city: AsyncEngine) -> None:
    box = await make_cards(city, cards=3)
    first, second, _ = box.cards
    assert isinstance(await activate(city, first.printed_number, first.pin), Activated)
    cancel = partial(cancel_batch, batch_id=box.batch_id, now_us=NOW_US)
    assert await write(city, cancel) == 2
    assert await activate(city, second.printed_number, second.pin) == WRONG
    found = await pays(city, first.qr_value)
    assert found is not None
    assert found[1] == "active"
    with pytest.raises(RefusedError, match="batch_cancelled"):
        await write(city, cancel)


async def test_a_lost_card_is_blocked_for_good(city: AsyncEngine) -> None:
    card, activated = await activated_card(city)
    block = partial(block_card, card_id=activated.card_id, now_us=NOW_US)
    assert await write(city, block)
    assert not await write(city, block)
    found = await pays(city, card.qr_value)
    assert found is not None
    assert found[1] == "blocked"


async def test_a_card_that_was_lost_in_the_post_is_void(city: AsyncEngine) -> None:
    (card,) = (await make_cards(city)).cards
    void = partial(void_blank, number=card.printed_number)
    assert await write(city, void) is not None
    assert await write(city, void) is None
    assert await activate(city, card.printed_number, card.pin) == WRONG


async def test_the_card_of_a_person_is_replaced_and_their_wallet_stays(city: AsyncEngine) -> None:
    opened = await person_wallet(city)
    old, activated = await activated_card(city, wallet_id=opened)
    (new,) = (await make_cards(city)).cards
    replaced = await write(
        city,
        partial(
            replace_card,
            card_id=activated.card_id,
            number=new.printed_number,
            decided_by=uuid4(),
            now_us=NOW_US,
        ),
    )
    assert (replaced.wallet_id, replaced.moves) == (opened, False)
    async with read(city) as connection:
        row = (await connection.execute(REPLACEMENT, {"id": activated.card_id})).one()
        cards = await list_cards(connection, wallet_ids=[opened])
        found = await find_card(connection, number=old.printed_number)
    assert tuple(row) == (opened, opened, True)
    assert sorted(card.state for card in cards) == ["active", "replaced"]
    assert found.state == "replaced"


async def test_a_card_is_replaced_once(city: AsyncEngine) -> None:
    _, activated = await activated_card(city)
    first, second = (await make_cards(city, cards=2)).cards

    async def work(connection: AsyncConnection) -> None:
        for card in (first, second):
            await replace_card(
                connection,
                card_id=activated.card_id,
                number=card.printed_number,
                decided_by=uuid4(),
                now_us=NOW_US,
            )

    with pytest.raises(RefusedError, match="card_replaced"):
        await write(city, work)


@pytest.mark.parametrize(
    "order",
    [
        CardOrder(),
        CardOrder(cards=1, wallet_ids=(UUID(int=1),)),
        CardOrder(wallet_ids=(UUID(int=1), UUID(int=1))),
        CardOrder(cards=1, payment_limit_yen=2, daily_limit_yen=1),
    ],
)
def test_an_order_that_says_nothing_or_two_things_is_refused(order: CardOrder) -> None:
    with pytest.raises(RefusedError, match="card_order_invalid"):
        check_order(order)


async def test_cards_for_a_wallet_that_is_not_there_are_not_printed(city: AsyncEngine) -> None:
    with pytest.raises(RefusedError, match="wallet_unknown"):
        await make_cards(city, wallet_ids=(uuid4(),))


async def test_no_number_is_given_to_two_cards(
    city: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await make_card(city, await make_wallet(city))
    (printed,) = (await make_cards(city)).cards
    taken = [int(issued.number[:11]), int(printed.printed_number[:11])]
    pins = iter([271_828, 314_159, 577_215])
    numbers = iter([taken[0], taken[1], 17])
    monkeypatch.setattr("secrets.randbelow", lambda most: next(numbers if most == 10**11 else pins))
    (card,) = (await make_cards(city)).cards
    assert int(card.printed_number[:11]) == 17


async def person_wallet(engine: AsyncEngine) -> UUID:
    """Return the wallet of somebody the city knows."""
    opened = await write(engine, partial(open_person, tier=Tier.DEVICE, now_us=NOW_US))
    return opened.wallet_id
