"""Several processes on one ledger: what one of them writes while the other decides."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.factories.ledger import (
    account,
    codes,
    counters,
    fund,
    open_accounts,
    pending,
    post,
    transfer,
    void,
)
from tests.ledger.meeting import overlap, two_tellers
from tests.servers import Database
from wallet.core.database import Connection
from wallet.ledger import storage
from wallet.ledger.create import CREATE, CreateAnswer, CreateRequest
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    Transfer,
)

GUARDED = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS


async def test_a_retry_at_another_process_finds_what_took_all_the_money(
    module_database: Database, connection: Connection
) -> None:
    """Looking for the id, the second finds nothing yet; looking at the account, nothing left."""
    async with two_tellers(module_database) as (first, second, proxy):
        payer, payee = await open_accounts(first, account(flags=GUARDED), account())
        await fund(first, payer, 100)
        asked = transfer(payer, payee, 100)
        answers = await overlap(
            proxy, connection, lambda: codes(first, asked), lambda: codes(second, asked)
        )
        assert answers == (["created"], ["exists"])
        assert await codes(second, asked) == ["exists"]
        assert await counters(connection, payer) == (0, 100, 0, 100)


async def test_the_same_id_with_other_content_finds_the_winner(
    module_database: Database, connection: Connection
) -> None:
    async with two_tellers(module_database) as (first, second, proxy):
        payer, payee = await open_accounts(first, account(), account())
        asked = transfer(payer, payee)
        answers = await overlap(
            proxy,
            connection,
            lambda: codes(first, asked),
            lambda: codes(second, replace(asked, amount=1)),
        )
        assert answers == (["created"], ["exists_with_different_amount"])
        assert await counters(connection, payer) == (0, 100, 0, 0)


@pytest.mark.parametrize("resolve", [post, void])
async def test_a_retried_resolution_finds_the_first_one(
    module_database: Database,
    connection: Connection,
    resolve: Callable[[Transfer], Transfer],
) -> None:
    async with two_tellers(module_database) as (first, second, proxy):
        payer, payee = await open_accounts(first, account(), account())
        hold = pending(payer, payee)
        assert await codes(first, hold) == ["created"]
        asked = resolve(hold)
        answers = await overlap(
            proxy, connection, lambda: codes(first, asked), lambda: codes(second, asked)
        )
        assert answers == (["created"], ["exists"])


async def test_a_hold_is_resolved_by_one_process_only(
    module_database: Database, connection: Connection
) -> None:
    async with two_tellers(module_database) as (first, second, proxy):
        payer, payee = await open_accounts(first, account(), account())
        hold = pending(payer, payee)
        assert await codes(first, hold) == ["created"]
        answers = await overlap(
            proxy,
            connection,
            lambda: codes(first, post(hold, 60)),
            lambda: codes(second, void(hold)),
        )
        assert answers == (["created"], ["pending_transfer_already_posted"])
        assert await counters(connection, payer) == (0, 60, 0, 0)


async def test_an_id_that_was_burnt_while_another_batch_waited_for_its_locks_stays_burnt(
    module_database: Database, connection: Connection
) -> None:
    """The payer has the money by then, and yet whoever was refused must not be told otherwise."""
    async with two_tellers(module_database) as (first, second, proxy):
        payer, payee, source = await open_accounts(
            first, account(flags=GUARDED), account(flags=GUARDED), account()
        )
        asked = transfer(payer, payee, 5)
        answers = await overlap(
            proxy,
            connection,
            lambda: codes(first, asked, transfer(source, payer, 5)),
            lambda: codes(second, asked),
        )
        assert answers == (["exceeds_credits", "created"], ["id_already_failed"])
        assert await counters(connection, payer) == (0, 0, 0, 5)


def held_back(
    monkeypatch: pytest.MonkeyPatch, name: str, ids: Callable[[Any], bool]
) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold back one of the ledger's reads for a batch that asks for the ids."""
    reached, goes_on = asyncio.Event(), asyncio.Event()
    real = getattr(storage, name)

    async def read(connection: Connection, asked: Sequence[UUID], *more: object) -> object:
        if ids(asked) and not reached.is_set():
            reached.set()
            await goes_on.wait()
        return await real(connection, asked, *more)

    monkeypatch.setattr(storage, name, read)
    return reached, goes_on


async def test_an_account_created_by_another_process_between_two_reads_exists(
    module_database: Database, monkeypatch: pytest.MonkeyPatch, connection: Connection
) -> None:
    async with two_tellers(module_database) as (first, second, _):
        (payer,) = await open_accounts(first, account())
        new = account(max_balance=500)
        request = CreateRequest(accounts=(new,), transfers=(transfer(payer, new.id),))
        reached, goes_on = held_back(monkeypatch, "lock_balances", lambda asked: new.id in asked)
        waiting: asyncio.Future[CreateAnswer] = second.submit(CREATE, request)
        await reached.wait()
        await open_accounts(first, new)
        goes_on.set()
        answer = await waiting
        assert str(answer.accounts[0].code) == "exists"
        assert str(answer.transfers[0].code) == "created"
        assert await counters(connection, new.id) == (0, 0, 0, 100)


async def test_a_hold_opened_by_another_process_between_two_reads_is_found(
    module_database: Database, monkeypatch: pytest.MonkeyPatch, connection: Connection
) -> None:
    async with two_tellers(module_database) as (first, second, _):
        payer, payee = await open_accounts(first, account(), account())
        hold = pending(payer, payee)
        reached, goes_on = held_back(
            monkeypatch, "find_transfers", lambda asked: hold.id in asked and len(asked) > 1
        )
        waiting = asyncio.create_task(codes(second, post(hold)))
        await reached.wait()
        assert await codes(first, hold) == ["created"]
        goes_on.set()
        assert await waiting == ["created"]
        assert await counters(connection, payer) == (0, 100, 0, 0)


async def test_the_same_new_account_is_created_by_one_process_only(
    module_database: Database, connection: Connection
) -> None:
    async with two_tellers(module_database) as (first, second, proxy):
        (payer,) = await open_accounts(first, account())
        new = account()
        requests = [
            CreateRequest(accounts=(new,), transfers=(transfer(payer, new.id),)) for _ in range(2)
        ]
        answers = await overlap(
            proxy,
            connection,
            lambda: first.submit(CREATE, requests[0]),
            lambda: second.submit(CREATE, requests[1]),
        )
        assert [str(answer.accounts[0].code) for answer in answers] == ["created", "exists"]
        assert [str(answer.transfers[0].code) for answer in answers] == ["created"] * 2
        assert await counters(connection, new.id) == (0, 0, 0, 200)
