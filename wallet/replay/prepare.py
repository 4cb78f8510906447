"""Prepare a replay: a wallet for each customer of the file, a shop for each terminal, and money.

Everything goes through the city's own doors and is new in every run, so runs never mix. The money
is of one programme, ``replay``, whose budget gets exactly what a run hands out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final
from uuid import UUID

import msgspec
from rich.progress import Progress
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import Clock
from wallet.core.database import read
from wallet.core.ids import align_id, new_id, public_id
from wallet.core.refusals import RefusedError
from wallet.ledger.teller import Teller
from wallet.merchants.issue_api_key import issue_api_key
from wallet.merchants.register_merchants import NewMerchant, NewShop, register_merchants
from wallet.people.open_wallets import NewWallet, open_wallets
from wallet.programmes.create_programme import create_programme
from wallet.programmes.fund_budget import fund_budget
from wallet.programmes.rules import Spending
from wallet.programmes.terms import ProgrammeDraft
from wallet.replay.read_payments import RecordedPayment
from wallet.vouchers.issue import Refused
from wallet.vouchers.issue_many import issue_many
from wallet.vouchers.rules import IssueRequest

SHOPS_PER_MERCHANT: Final = 200
"""A replay's terminals are spread over merchants, each with a key of its own, as in a city."""

PROGRAMME: Final = ProgrammeDraft(
    code="replay",
    name="再生試験のお金",
    spending=Spending(first_day=date(2000, 1, 1), last_day=date(2099, 12, 31)),
    budget_yen=0,
)

_BUDGET = text("SELECT number, budget_account_id FROM programme WHERE code = :code")


class Till(msgspec.Struct, frozen=True, gc=False):
    """A terminal as the API knows it, and the key its merchant's system calls with."""

    terminal_id: str
    api_key: str


class Scene(msgspec.Struct, frozen=True):
    """Who pays where: wallets by customer, tills by terminal; ``merchant_ids`` are all new."""

    wallets: Mapping[str, UUID]
    tills: Mapping[str, Till]
    merchant_ids: list[UUID]


class Preparer(msgspec.Struct, frozen=True):
    """What every step of preparing works with."""

    engine: AsyncEngine
    teller: Teller
    pepper: bytes
    livemode: bool
    clock: Clock
    progress: Progress


async def prepare(
    preparer: Preparer, *, payments: Sequence[RecordedPayment], short_every: int
) -> Scene:
    """Open everything the payments need.

    Each wallet gets exactly what its customer will spend; with ``short_every`` = n, every n-th
    gets only half of it, so that some of its payments must be declined. 0 leaves nobody short.
    """
    spent_yen: Counter[str] = Counter()
    for payment in payments:
        spent_yen[payment.customer] += payment.amount_yen
    merchants, terminal_ids = _merchants(payments, now_us=preparer.clock())
    task = preparer.progress.add_task("Preparing", total=len(merchants) + 2 * len(spent_yen))
    keys: dict[UUID, str] = {}
    for merchant in merchants:
        await register_merchants(preparer.teller, merchants=[merchant])
        key = await issue_api_key(
            preparer.engine,
            merchant_id=merchant.id,
            livemode=preparer.livemode,
            pepper=preparer.pepper,
            now_us=preparer.clock(),
        )
        keys |= dict.fromkeys((shop.id for shop in merchant.shops), key.key)
        preparer.progress.advance(task)
    wallets = await _open_wallets(preparer, spent_yen)
    preparer.progress.advance(task, len(wallets))
    given_yen = {
        customer: amount_yen // 2 if short_every and number % short_every == 0 else amount_yen
        for number, (customer, amount_yen) in enumerate(spent_yen.items(), 1)
    }
    await _give(preparer, {wallets[c]: yen for c, yen in given_yen.items() if yen})
    preparer.progress.advance(task, len(wallets))
    tills = {
        terminal: Till(public_id("ter", shop_id), keys[shop_id])
        for terminal, shop_id in terminal_ids.items()
    }
    return Scene(wallets, tills, [merchant.id for merchant in merchants])


def _merchants(
    payments: Sequence[RecordedPayment], *, now_us: int
) -> tuple[list[NewMerchant], dict[str, UUID]]:
    """Return the merchants, and for each terminal of the file its id, which is its shop's too."""
    names = dict.fromkeys(payment.terminal for payment in payments)
    terminal_ids = {name: new_id(now_us=now_us) for name in names}
    terminals = list(terminal_ids.items())
    merchants = []
    for start in range(0, len(terminals), SHOPS_PER_MERCHANT):
        shops = tuple(
            NewShop(i, f"再生 {name}", "groceries", small=True, terminal_ids=(i,))
            for name, i in terminals[start : start + SHOPS_PER_MERCHANT]
        )
        number = start // SHOPS_PER_MERCHANT + 1
        merchants.append(NewMerchant(new_id(now_us=now_us), f"再生加盟店 {number}", shops))
    return merchants, terminal_ids


async def _open_wallets(preparer: Preparer, spent_yen: Mapping[str, int]) -> dict[str, UUID]:
    """Open a wallet for each customer; months pass in a minute, so no day may bound them."""
    now_us = preparer.clock()
    wallets = {customer: new_id(now_us=now_us) for customer in spent_yen}
    new = [
        NewWallet(wallets[customer], payment_limit_yen=yen, daily_limit_yen=yen)
        for customer, yen in spent_yen.items()
    ]
    await open_wallets(preparer.engine, wallets=new, now_us=now_us)
    return wallets


async def _give(preparer: Preparer, given_yen: Mapping[UUID, int]) -> None:
    """Fund the programme with the sum and issue it."""
    teller, now_us = preparer.teller, preparer.clock()
    await create_programme(teller, draft=PROGRAMME, now_us=now_us)
    async with read(preparer.engine) as connection:
        number, budget_account_id = (
            await connection.execute(_BUDGET, {"code": PROGRAMME.code})
        ).one()
    await fund_budget(
        teller,
        number=number,
        budget_account_id=budget_account_id,
        funding_id=new_id(now_us=now_us),
        amount_yen=sum(given_yen.values()),
    )
    requests = [
        IssueRequest(
            issue_id=align_id(new_id(now_us=now_us)),
            wallet_id=wallet_id,
            programme=PROGRAMME.code,
            amount_yen=amount_yen,
        )
        for wallet_id, amount_yen in given_yen.items()
    ]
    for answer in await issue_many(teller, requests=requests):
        if isinstance(answer, Refused):
            raise RefusedError(answer.refusal.code, **answer.refusal.facts)
