"""The same payment endpoint, written the way such endpoints usually are: the till's counterpart.

FastAPI and pydantic at the door, one SQLAlchemy transaction for each request, rows locked with
SELECT … FOR UPDATE before they are judged, objects changed and added, COMMIT before the answer.
It takes the same requests, obeys the same rules and leaves the same rows in the same tables for
every payment that succeeds. It is meant to be good of its kind: keys and programmes are remembered
as the till remembers them, every lookup is one query by key, accounts are locked in one order, and
the shop's account comes last, so that it is held no longer than it must be. What it leaves out only
makes it faster: it keeps no refusals and does not compare a repeat with the first request.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

import asyncpg
import msgspec
from fastapi import FastAPI, Header, HTTPException, Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase

from wallet.core.clock import japanese_day, system_clock, to_datetime
from wallet.core.database import make_engine
from wallet.core.database import metadata as product_metadata
from wallet.core.ids import align_id, keyed_hash, new_id, numbered_id, parse_public_id, public_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import outbox
from wallet.core.refusals import Refusal
from wallet.ledger import tables as ledger
from wallet.ledger.chart import TRANSFER_PAYMENT
from wallet.ledger.rules import LINKED
from wallet.merchants import tables as merchants
from wallet.merchants.authenticate import KeyRing
from wallet.ops.tables import stop_control
from wallet.payments import tables as payments
from wallet.payments.rules import Holder, check_limits, plan
from wallet.people import tables as people
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Programme, Purse, Shop

_VERSIONS: Final = "SELECT id, version FROM programme"

CONNECTIONS: Final = 12
"""As many as serve two cores best; 8 to 16 make no difference that one could measure."""


Entity: TypeAlias = Any
"""An object of a class below: its attributes are its table's columns, which mypy cannot see."""


class Base(DeclarativeBase):
    """The product's own tables, as classes."""

    metadata = product_metadata


class Payment(Base):
    __table__ = payments.payment


class IdempotencyKey(Base):
    __table__ = payments.idempotency_key


class OneTimeCode(Base):
    __table__ = payments.one_time_code


class Transfer(Base):
    __table__ = ledger.transfer


class Balance(Base):
    __table__ = ledger.balance


class Wallet(Base):
    __table__ = people.wallet


class Card(Base):
    __table__ = people.card


class Spending(Base):
    __table__ = people.spending


class Event(Base):
    __table__ = outbox


class Amount(BaseModel):
    """Whole yen."""

    amount: Annotated[int, Field(ge=1, le=1_000_000)]
    currency: Literal["JPY"]


class Instrument(BaseModel):
    """What the customer showed."""

    type: Literal["cpm_code", "card"]
    value: Annotated[str, Field(min_length=1, max_length=128)]


class PayBody(BaseModel):
    """The request's body."""

    merchant_payment_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    amount: Amount
    instrument: Instrument
    terminal_id: Annotated[str, Field(pattern=r"^ter_[0-9a-f]{32}$")]
    order_description: Annotated[str, Field(max_length=200)] | None = None


class PaymentAnswer(BaseModel):
    """The answer's body."""

    id: str
    status: str
    merchant_payment_id: str
    amount: Amount
    terminal_id: str
    created_at: str


class Place(msgspec.Struct, frozen=True):
    """Where a payment happens, and who is holding money up."""

    merchant_id: UUID
    payable_account_id: UUID
    shop: Shop
    stops: frozenset[str]


@asynccontextmanager
async def lifespan(application: FastAPI) -> AsyncIterator[None]:
    """Connect, and remember the programmes as the till does."""
    url, pepper = os.environ["DATABASE_URL"], os.environ["WALLET_PEPPER"].encode()
    engine = make_engine(url, pool_size=CONNECTIONS, application_name="bench-conventional")
    connection = await asyncpg.connect(url)
    versions = {row[0]: row[1] for row in await connection.fetch(_VERSIONS)}
    application.state.programmes = await ProgrammeShelf().take(connection, versions)
    await connection.close()
    application.state.pepper = pepper
    application.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    application.state.key_ring = KeyRing(
        engine=engine, pepper=pepper, livemode=False, clock=system_clock, kept_s=2.0
    )
    try:
        yield
    finally:
        await engine.dispose()


application = FastAPI(lifespan=lifespan)


@application.post("/v1/payments", status_code=201)
async def pay(
    body: PayBody,
    request: Request,
    authorization: Annotated[str, Header()],
    idempotency_key: Annotated[str, Header(min_length=1, max_length=255)],
) -> PaymentAnswer:
    """Take one payment in one transaction."""
    state = request.app.state
    principal = await state.key_ring.authenticate(authorization)
    if isinstance(principal, Refusal):
        raise HTTPException(401, principal.code)
    now_us = system_clock()
    payment: Entity = Payment(
        id=align_id(new_id(now_us=now_us)),
        merchant_id=principal.merchant_id,
        merchant_payment_id=body.merchant_payment_id,
        terminal_id=parse_public_id("ter", body.terminal_id),
        amount_yen=body.amount.amount,
        instrument=body.instrument.type,
        instrument_hash=keyed_hash(body.instrument.value, pepper=state.pepper),
        description=body.order_description,
        created_at=to_datetime(now_us),
    )
    async with state.sessions.begin() as session:
        earlier = await session.get(IdempotencyKey, (principal.merchant_id, idempotency_key))
        if earlier is not None:
            payment = await session.get_one(Payment, earlier.payment_id)
        else:
            await _take(session, payment, now_us, state.programmes)
            session.add(
                IdempotencyKey(
                    principal_id=principal.merchant_id,
                    key=idempotency_key,
                    payment_id=payment.id,
                    created_at=payment.created_at,
                )
            )
    return _answer(payment)


async def _take(
    session: AsyncSession, payment: Entity, now_us: int, programmes: dict[UUID, Programme]
) -> None:
    place = await _find_place(session, payment)
    day = japanese_day(now_us)
    wallet_id, card = await _find_instrument(session, payment)
    holders, spending = await _lock_holders(session, wallet_id, card)
    spent_yen = {one.holder_id: one.spent_yen * (one.spent_on >= day) for one in spending}
    _refuse(check_limits(holders, spent_yen, amount_yen=payment.amount_yen))
    purses, balances = await _lock_purses(session, wallet_id)
    draws = plan(
        [(p, _available(balances[p.account_id])) for p in purses],
        programmes,
        shop=place.shop,
        day=day,
        amount_yen=payment.amount_yen,
        stops=place.stops,
    )
    if isinstance(draws, Refusal):
        raise HTTPException(409, draws.code)
    payable = await session.get_one(Balance, place.payable_account_id, with_for_update=True)
    for leg, one in enumerate(draws, 1):
        moved = _move(one.amount_yen, balances[one.purse.account_id], payable, now_us)
        moved.id, moved.user_data_128 = numbered_id(payment.id, leg), payment.id
        moved.user_data_32 = programmes[one.purse.programme_id].number
        moved.flags = LINKED if leg < len(draws) else 0
        session.add(moved)
    for one in spending:
        one.spent_on = max(one.spent_on, day)
        one.spent_yen = spent_yen[one.holder_id] + payment.amount_yen
    payment.shop_id, payment.wallet_id, payment.state = place.shop.id, wallet_id, "succeeded"
    session.add_all([payment, _event(payment)])


async def _find_place(session: AsyncSession, payment: Entity) -> Place:
    t, s, m = merchants.terminal.c, merchants.shop.c, merchants.merchant.c
    row: Entity = (
        await session.execute(
            select(t.state, m.state, s.merchant_id, s.payable_account_id, s.id, s.category, s.small)
            .add_columns(select(stop_control.c.scopes).scalar_subquery())
            .select_from(merchants.terminal.join(merchants.shop).join(merchants.merchant))
            .where(t.id == payment.terminal_id)
        )
    ).one_or_none()
    if row is None or row[0] != "active" or row[2] != payment.merchant_id:
        raise HTTPException(404, "terminal_unknown")
    if row[1] != "active":
        raise HTTPException(403, "merchant_suspended")
    stops = frozenset(row[7])
    if not stops.isdisjoint(("all", "pay", f"merchant:{payment.merchant_id.hex}")):
        raise HTTPException(503, "service_stopped")
    return Place(row[2], row[3], Shop(row[4], row[5], row[6]), stops)


async def _find_instrument(session: AsyncSession, payment: Entity) -> tuple[UUID, Entity]:
    """Return the wallet, and the card if it is one; a code is used up."""
    if payment.instrument == "card":
        found = select(Card).where(people.card.c.number_hash == payment.instrument_hash)
        card: Entity = (await session.execute(found)).scalar_one_or_none()
        if card is None or card.state != "active":
            raise HTTPException(409, "card_unknown" if card is None else "card_blocked")
        return card.wallet_id, card
    code: Entity = await session.get(OneTimeCode, payment.instrument_hash, with_for_update=True)
    if code is None or code.burnt_by is not None:
        raise HTTPException(409, "code_unknown" if code is None else "code_used")
    if code.expires_at <= payment.created_at:
        raise HTTPException(409, "code_expired")
    code.burnt_by = payment.id
    return code.wallet_id, None


async def _lock_holders(
    session: AsyncSession, wallet_id: UUID, card: Entity
) -> tuple[list[Holder], list[Entity]]:
    """Return who pays, the wallet first, and their counters of the day, locked."""
    wallet: Entity = await session.get_one(Wallet, wallet_id)
    if wallet.state != "active":
        raise HTTPException(409, "wallet_frozen")
    holders = [
        Holder(one.id, one.state, one.payment_limit_yen, one.daily_limit_yen)
        for one in ([wallet] if card is None else [wallet, card])
    ]
    holder_id = people.spending.c.holder_id
    locked = (
        select(Spending)
        .where(holder_id.in_([one.id for one in holders]))
        .order_by(holder_id)
        .with_for_update()
    )
    return holders, list((await session.execute(locked)).scalars())


async def _lock_purses(
    session: AsyncSession, wallet_id: UUID
) -> tuple[list[Purse], dict[UUID, Entity]]:
    p = people.purse.c
    locked = (
        select(Balance, p.account_id, p.programme_id, p.funding, p.expires_on)
        .join(people.purse, p.account_id == ledger.balance.c.account_id)
        .where(p.wallet_id == wallet_id)
        .order_by(p.account_id)
        .with_for_update(of=ledger.balance)
    )
    rows = (await session.execute(locked)).all()
    return [Purse(*row[1:]) for row in rows], {row[1]: row[0] for row in rows}


def _available(balance: Entity) -> int:
    available: int = balance.credits_posted - balance.debits_posted - balance.debits_pending
    return available


def _move(amount_yen: int, debit: Entity, credit: Entity, now_us: int) -> Entity:
    """Change both balances and return the transfer, all but what makes it one of a payment.

    Timestamps increase strictly within an account, as the ledger promises.
    """
    timestamp = max(now_us, debit.last_timestamp + 1, credit.last_timestamp + 1)
    debit.debits_posted += amount_yen
    credit.credits_posted += amount_yen
    for balance in (debit, credit):
        balance.last_timestamp = timestamp
        balance.transfer_count += 1
    return Transfer(
        debit_account_id=debit.account_id,
        credit_account_id=credit.account_id,
        amount=amount_yen,
        ledger=LEDGER_JPY,
        code=TRANSFER_PAYMENT,
        user_data_64=0,
        timeout_s=0,
        timestamp=timestamp,
    )


def _event(payment: Entity) -> Event:
    body = {
        "payment_id": str(payment.id),
        "merchant_id": str(payment.merchant_id),
        "merchant_payment_id": payment.merchant_payment_id,
        "amount_yen": payment.amount_yen,
    }
    return Event(
        event_id=payment.id, kind="payment.succeeded", body=body, created_at=payment.created_at
    )


def _refuse(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise HTTPException(409, refusal.code)


def _answer(payment: Entity) -> PaymentAnswer:
    return PaymentAnswer(
        id=public_id("pay", payment.id),
        status=payment.state,
        merchant_payment_id=payment.merchant_payment_id,
        amount=Amount(amount=payment.amount_yen, currency="JPY"),
        terminal_id=public_id("ter", payment.terminal_id),
        created_at=payment.created_at.isoformat(),
    )
