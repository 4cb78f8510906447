"""What two desks, holders and thieves do with the same card or wallet at the same moment."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.card_batches import activate, activated_card, make_cards
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.people import make_wallet
from tests.patience import until
from wallet.auth.guess_limits import LIMITS
from wallet.core.database import read, write
from wallet.core.refusals import Refusal, RefusedError
from wallet.people.activate_cards import Activated, activate_card, assign_card
from wallet.people.card_batches import PrintedCard, cancel_batch
from wallet.people.card_pin import WRONG
from wallet.people.cards import Replaced, block_card, replace_card, void_blank
from wallet.people.rules import printed_number

WAITERS = text("""
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
""")
CARDS = text("SELECT wallet_id, state FROM card WHERE printed_number = :number")

Work = Callable[[AsyncConnection], Awaitable[Any]]


async def meet(engine: AsyncEngine, first: Work, second: Work) -> tuple[Any, Any]:
    """Commit the first only when the second waits for one of its locks; return both answers.

    A refusal that is raised is an answer too.
    """
    reached, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection) -> object:
        answer = await first(connection)
        reached.set()
        await goes_on.wait()
        return answer

    async def waits() -> bool:
        async with read(engine) as connection:
            waiting: int = (await connection.execute(WAITERS)).scalar_one()
            return waiting > 0

    one = asyncio.ensure_future(answer_of(write(engine, slow)))
    await reached.wait()
    other = asyncio.ensure_future(answer_of(write(engine, second)))
    await until(waits)
    goes_on.set()
    return await one, await other


async def answer_of(asked: Awaitable[Any]) -> object:
    """Return what was answered or refused."""
    try:
        return await asked
    except RefusedError as error:
        return error.refusal


def activation(card: PrintedCard, wallet_id: UUID | None = None, *, pin: str | None = None) -> Work:
    """Return the work of activating a card with its PIN, or with another one."""
    return partial(
        activate_card,
        shown=card.printed_number,
        pin=card.pin if pin is None else pin,
        wallet_id=wallet_id,
        pepper=PEPPER,
        now_us=NOW_US,
    )


def replacement(card_id: UUID, card: PrintedCard) -> Work:
    """Return the work of putting a blank in the place of a card."""
    return partial(
        replace_card,
        card_id=card_id,
        number=card.printed_number,
        decided_by=uuid4(),
        now_us=NOW_US,
    )


async def state_of(engine: AsyncEngine, card: PrintedCard) -> tuple[UUID, str] | None:
    """Return what a card pays from and whether, None while it is nobody's."""
    async with read(engine) as connection:
        values = {"number": card.printed_number}
        row = (await connection.execute(CARDS, values)).one_or_none()
    return None if row is None else tuple(row)


async def test_of_two_who_activate_a_card_one_has_it(city: AsyncEngine) -> None:
    (card,) = (await make_cards(city)).cards
    wallet_id, other_id = await make_wallet(city), await make_wallet(city)
    done, refused = await meet(city, activation(card, wallet_id), activation(card, other_id))
    assert (done.wallet_id, done.new) == (wallet_id, True)
    assert refused == Refusal("card_of_another")
    assert await state_of(city, card) == (wallet_id, "active")


async def test_whoever_taps_twice_has_the_card_once(city: AsyncEngine) -> None:
    (card,) = (await make_cards(city)).cards
    wallet_id = await make_wallet(city)
    first, second = await meet(city, activation(card, wallet_id), activation(card, wallet_id))
    assert (first.card_id, first.new, second.new) == (second.card_id, True, False)


async def test_a_card_that_is_activated_first_is_not_cancelled(city: AsyncEngine) -> None:
    box = await make_cards(city)
    (card,) = box.cards
    cancel = partial(cancel_batch, batch_id=box.batch_id, now_us=NOW_US)
    done, voided = await meet(city, activation(card), cancel)
    assert isinstance(done, Activated)
    assert voided == 0
    assert await state_of(city, card) == (done.wallet_id, "active")


@pytest.mark.parametrize("how", ["cancelled", "lost"])
async def test_a_card_that_is_voided_first_is_not_activated(city: AsyncEngine, how: str) -> None:
    box = await make_cards(city)
    (card,) = box.cards
    void: Work = partial(void_blank, number=card.printed_number)
    if how == "cancelled":
        void = partial(cancel_batch, batch_id=box.batch_id, now_us=NOW_US)
    _, refused = await meet(city, void, activation(card))
    assert refused == WRONG
    assert await state_of(city, card) is None


async def test_a_wallet_has_no_fourth_card_from_two_at_once(city: AsyncEngine) -> None:
    wallet_id = await make_wallet(city)
    for _ in range(2):
        await activated_card(city, wallet_id=wallet_id)
    first, second = (await make_cards(city, cards=2)).cards
    done, refused = await meet(city, activation(first, wallet_id), activation(second, wallet_id))
    assert isinstance(done, Activated)
    assert refused == Refusal("cards_too_many", {"most": 3})


async def test_a_card_is_replaced_once_by_two_at_once(city: AsyncEngine) -> None:
    _, activated = await activated_card(city)
    first, second = (await make_cards(city, cards=2)).cards
    done, refused = await meet(
        city, replacement(activated.card_id, first), replacement(activated.card_id, second)
    )
    assert isinstance(done, Replaced)
    assert refused == Refusal("card_replaced")
    assert await state_of(city, second) is None


async def test_one_blank_takes_the_place_of_one_card(city: AsyncEngine) -> None:
    _, activated = await activated_card(city)
    _, other = await activated_card(city)
    (blank,) = (await make_cards(city)).cards
    done, refused = await meet(
        city, replacement(activated.card_id, blank), replacement(other.card_id, blank)
    )
    assert refused == Refusal("card_number_unknown")
    assert await state_of(city, blank) == (done.wallet_id, "active")


async def test_a_wallet_that_was_given_another_card_is_not_left(city: AsyncEngine) -> None:
    _, activated = await activated_card(city)
    given, blank = (await make_cards(city, cards=2)).cards
    assign = partial(
        assign_card, number=given.printed_number, wallet_id=activated.wallet_id, now_us=NOW_US
    )
    _, replaced = await meet(city, assign, replacement(activated.card_id, blank))
    assert (replaced.moves, replaced.wallet_id) == (False, activated.wallet_id)


async def test_a_wallet_that_is_left_is_given_no_other_card(city: AsyncEngine) -> None:
    _, activated = await activated_card(city)
    given, blank = (await make_cards(city, cards=2)).cards
    assign = partial(
        assign_card, number=given.printed_number, wallet_id=activated.wallet_id, now_us=NOW_US
    )
    replaced, refused = await meet(city, replacement(activated.card_id, blank), assign)
    assert replaced.moves
    assert refused == Refusal("wallet_unknown")
    assert await state_of(city, given) is None


async def test_a_card_that_is_replaced_while_it_is_blocked_pays_no_more(city: AsyncEngine) -> None:
    old, activated = await activated_card(city)
    (blank,) = (await make_cards(city)).cards
    block = partial(block_card, card_id=activated.card_id, now_us=NOW_US)
    blocked, replaced = await meet(city, block, replacement(activated.card_id, blank))
    assert blocked
    assert await state_of(city, old) == (activated.wallet_id, "replaced")
    assert await state_of(city, blank) == (replaced.wallet_id, "active")


async def test_a_card_that_was_blocked_is_not_said_to_pay(city: AsyncEngine) -> None:
    wallet_id = await make_wallet(city)
    card, activated = await activated_card(city, wallet_id=wallet_id)
    await write(city, partial(block_card, card_id=activated.card_id, now_us=NOW_US))
    again = await activate(city, card.printed_number, card.pin, wallet_id=wallet_id)
    assert again == Refusal("card_blocked")
    assert await state_of(city, card) == (wallet_id, "blocked")


async def test_a_lost_card_of_a_full_wallet_is_not_replaced_by_a_fourth(city: AsyncEngine) -> None:
    wallet_id = await make_wallet(city)
    _, lost = await activated_card(city, wallet_id=wallet_id)
    await write(city, partial(block_card, card_id=lost.card_id, now_us=NOW_US))
    for _ in range(3):
        await activated_card(city, wallet_id=wallet_id)
    (blank,) = (await make_cards(city)).cards
    refused = await answer_of(write(city, replacement(lost.card_id, blank)))
    assert refused == Refusal("cards_too_many", {"most": 3})


async def test_no_more_pins_are_tried_at_once_than_one_after_the_other(city: AsyncEngine) -> None:
    (card,) = (await make_cards(city)).cards
    tries = [activation(card, pin=f"80{number}631") for number in range(8)]
    answers = await asyncio.gather(*(write(city, one) for one in tries))
    assert sum(answer == WRONG for answer in answers) == 3
    assert {answer.code for answer in answers} == {"card_pin_wrong", "too_many_tries"}


@pytest.mark.attack(2)
async def test_one_pin_is_not_tried_on_card_after_card(city: AsyncEngine) -> None:
    (card,) = (await make_cards(city)).cards
    most = LIMITS["card_pin"].value
    assert most is not None
    for number in range(most.failures_max):
        assert await activate(city, printed_number(number), card.pin) == WRONG
    refused = await activate(city, card.printed_number, card.pin)
    assert isinstance(refused, Refusal)
    assert refused.code == "too_many_tries"
    assert await state_of(city, card) is None
