"""The same id again, in another batch or after a restart: exactly what it was, or what differs."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from tests.factories.ledger import (
    NOBODY,
    account,
    codes,
    counters,
    fund,
    open_accounts,
    open_teller,
    pending,
    post,
    transfer,
    void,
)
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import Connection
from wallet.ledger.create import create_transfers
from wallet.ledger.rules import (
    ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS,
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    CLOSING_DEBIT,
    LINKED,
    PENDING,
    TRANSIENT,
    Transfer,
    TransferCode,
    TransferResult,
)
from wallet.ledger.teller import Teller

GUARDED = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS


async def two_accounts(teller: Teller) -> tuple[UUID, UUID]:
    """Open a payer and a payee without limits."""
    payer, payee = await open_accounts(teller, account(), account())
    return payer, payee


async def test_a_repeat_is_answered_with_the_first_timestamp_and_moves_nothing(
    teller: Teller, connection: Connection, clock: TestClock
) -> None:
    payer, payee = await two_accounts(teller)
    asked = transfer(payer, payee, user_data_128=uuid4(), user_data_32=5)
    (first,) = await create_transfers(teller, [asked])
    clock.advance(seconds=86_400)
    (again,) = await create_transfers(teller, [asked])
    assert again == TransferResult(TransferCode.EXISTS, first.timestamp, first.amount)
    assert await counters(connection, payer) == (0, 100, 0, 0)


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("flags", 0, "flags"),
        ("pending_id", UUID(int=9), "pending_id"),
        ("timeout_s", 61, "timeout"),
        ("debit_account_id", NOBODY, "debit_account_id"),
        ("credit_account_id", NOBODY, "credit_account_id"),
        ("amount", 99, "amount"),
        ("user_data_128", UUID(int=9), "user_data_128"),
        ("user_data_64", 9, "user_data_64"),
        ("user_data_32", 9, "user_data_32"),
        ("ledger", 2, "ledger"),
        ("code", 2, "code"),
    ],
)
async def test_a_repeat_says_the_first_field_that_differs(
    teller: Teller, connection: Connection, field: str, value: object, name: str
) -> None:
    payer, payee = await two_accounts(teller)
    asked = pending(payer, payee, timeout_s=60, user_data_64=7)
    assert await codes(teller, asked) == ["created"]
    changes: dict[str, Any] = {field: value}
    assert await codes(teller, replace(asked, **changes)) == [f"exists_with_different_{name}"]
    assert await codes(teller, replace(asked, **{**changes, "code": 3, field: value})) == [
        f"exists_with_different_{name}"
    ]
    assert await counters(connection, payer) == (100, 0, 0, 0)


@pytest.mark.parametrize("resolve", [post, void])
async def test_a_repeated_resolution_is_compared_with_what_it_inherited(
    teller: Teller, resolve: Callable[[Transfer], Transfer]
) -> None:
    payer, payee = await two_accounts(teller)
    hold = pending(payer, payee, user_data_64=7, code=3)
    other = pending(payer, payee)
    resolution = resolve(hold)
    assert await codes(teller, hold, other, resolution) == ["created"] * 3
    spelt_out = replace(
        resolution,
        debit_account_id=payer,
        credit_account_id=payee,
        amount=100,
        ledger=1,
        code=3,
        user_data_64=7,
    )
    assert await codes(
        teller,
        resolution,
        spelt_out,
        replace(resolution, pending_id=other.id),
        replace(resolution, user_data_64=8),
        replace(resolution, amount=50),
    ) == [
        "exists",
        "exists",
        "exists_with_different_pending_id",
        "exists_with_different_user_data_64",
        "exists_with_different_amount",
    ]


async def test_a_partial_post_is_repeated_by_its_own_amount_only(teller: Teller) -> None:
    payer, payee = await two_accounts(teller)
    hold = pending(payer, payee)
    part = post(hold, 40)
    assert await codes(teller, hold, part) == ["created", "created"]
    assert await codes(teller, part, replace(part, amount=2**63 - 1)) == [
        "exists",
        "exists_with_different_amount",
    ]


async def test_a_committed_chain_asked_for_again_breaks_at_what_exists(
    teller: Teller, connection: Connection
) -> None:
    payer, payee = await two_accounts(teller)
    chain = [transfer(payer, payee, flags=LINKED), transfer(payer, payee)]
    assert await codes(teller, *chain) == ["created", "created"]
    assert await codes(teller, *chain) == ["exists", "linked_event_failed"]
    assert await counters(connection, payer) == (0, 200, 0, 0)


Scene = Callable[[Teller], Awaitable[tuple[Transfer, Transfer]]]


async def no_debit_account(teller: Teller) -> tuple[Transfer, Transfer]:
    """A transfer from nowhere, and what is good about it."""
    payer, payee = await two_accounts(teller)
    return transfer(NOBODY, payee), transfer(payer, payee)


async def no_credit_account(teller: Teller) -> tuple[Transfer, Transfer]:
    """A transfer to nowhere."""
    payer, payee = await two_accounts(teller)
    return transfer(payer, NOBODY), transfer(payer, payee)


async def no_hold(teller: Teller) -> tuple[Transfer, Transfer]:
    """A post of a hold that never was."""
    payer, payee = await two_accounts(teller)
    hold = pending(payer, payee)
    assert await codes(teller, hold) == ["created"]
    return post(replace(hold, id=uuid4())), post(hold)


async def too_much(teller: Teller) -> tuple[Transfer, Transfer]:
    """More than a guarded account has."""
    payer, payee = await open_accounts(teller, account(flags=GUARDED), account())
    await fund(teller, payer, 100)
    return transfer(payer, payee, 101), transfer(payer, payee, 100)


async def too_much_received(teller: Teller) -> tuple[Transfer, Transfer]:
    """More than was debited, to an account whose credits must not exceed its debits."""
    flags = ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS
    payer, payee, other = await open_accounts(teller, account(), account(flags=flags), account())
    assert await codes(teller, transfer(payee, other, 100)) == ["created"]
    return transfer(payer, payee, 101), transfer(payer, payee, 100)


async def too_much_held(teller: Teller) -> tuple[Transfer, Transfer]:
    """More than an account may hold."""
    payer, payee = await open_accounts(teller, account(), account(max_balance=100))
    return transfer(payer, payee, 101), transfer(payer, payee, 100)


async def closed_debit(teller: Teller) -> tuple[Transfer, Transfer]:
    """From a closed account."""
    payer, payee = await two_accounts(teller)
    assert await codes(teller, pending(payer, payee, 0, more=CLOSING_DEBIT)) == ["created"]
    return transfer(payer, payee), transfer(payee, await fund(teller, payee))


async def closed_credit(teller: Teller) -> tuple[Transfer, Transfer]:
    """To a closed account."""
    payer, payee = await two_accounts(teller)
    assert await codes(teller, pending(payer, payee, 0, more=CLOSING_DEBIT)) == ["created"]
    return transfer(payee, payer), transfer(payee, await fund(teller, payee))


SCENES: dict[str, Scene] = {
    "debit_account_not_found": no_debit_account,
    "credit_account_not_found": no_credit_account,
    "pending_transfer_not_found": no_hold,
    "exceeds_credits": too_much,
    "exceeds_debits": too_much_received,
    "exceeds_max_balance": too_much_held,
    "debit_account_already_closed": closed_debit,
    "credit_account_already_closed": closed_credit,
}


def test_there_is_a_scene_for_every_transient_failure() -> None:
    assert set(SCENES) == {str(code) for code in TRANSIENT}


@pytest.mark.parametrize("failure", SCENES)
async def test_a_told_failure_stays_one_after_a_restart_even_when_it_could_succeed(
    module_database: Database, connection: Connection, failure: str
) -> None:
    url = module_database.application_url
    async with open_teller(url) as teller:
        failing, sound = await SCENES[failure](teller)
        assert await codes(teller, failing) == [failure]
    async with open_teller(url) as restarted:
        assert await codes(restarted, failing) == ["id_already_failed"]
        retried = replace(sound, id=failing.id)
        assert await codes(restarted, retried) == ["id_already_failed"]
        assert await codes(restarted, sound) == ["created"]
    stored = await connection.fetch("SELECT code FROM burnt_transfer WHERE id = $1", failing.id)
    assert [row[0] for row in stored] == [failure]


async def test_any_other_failure_leaves_the_id_free(teller: Teller) -> None:
    payer, payee = await two_accounts(teller)
    asked = transfer(payer, payee)
    assert await codes(teller, replace(asked, code=0)) == ["code_must_not_be_zero"]
    assert await codes(teller, replace(asked, credit_account_id=payer)) == [
        "accounts_must_be_different"
    ]
    hold = pending(payer, payee)
    assert await codes(teller, hold, post(hold, 101)) == [
        "created",
        "exceeds_pending_transfer_amount",
    ]
    assert await codes(teller, asked) == ["created"]


async def test_a_broken_chain_burns_the_id_of_the_event_that_broke_it(teller: Teller) -> None:
    payer, payee = await two_accounts(teller)
    first, failing = transfer(payer, payee, flags=LINKED), transfer(payer, NOBODY)
    assert await codes(teller, first, failing) == [
        "linked_event_failed",
        "credit_account_not_found",
    ]
    assert await codes(teller, replace(first, flags=0)) == ["created"]
    assert await codes(teller, replace(failing, credit_account_id=payee)) == ["id_already_failed"]


async def test_a_hold_is_repeated_as_itself_after_it_was_resolved(
    teller: Teller, connection: Connection
) -> None:
    payer, payee = await two_accounts(teller)
    hold = pending(payer, payee, timeout_s=60)
    assert await codes(teller, hold, post(hold)) == ["created", "created"]
    assert await codes(teller, hold, replace(hold, flags=PENDING | LINKED)) == [
        "exists",
        "linked_event_chain_open",
    ]
    assert await counters(connection, payer) == (0, 100, 0, 0)
