"""Reserve units of what is on sale: first come first served, or what somebody has won.

No money moves yet. But many want the same few units at once, so it is a kind of work for the
teller: the row of the stock is locked once for a whole batch, counted down in memory, and written
once. The order of decisions is fixed: who asks, stops, the sale, repeats, the wallet, who holds
it, the period, the offer, the limits, and the stock last.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.database import Connection
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal
from wallet.ledger.work import Batch, Facts
from wallet.ops.rules import ScopeKind, matches
from wallet.people.tiers import limits_of
from wallet.programmes.purses import WalletFacts, find_versions, lock_wallets
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Frame, Funding, Programme
from wallet.receipts.rules import SHORTEST_GRACE_US
from wallet.vouchers.purchase_rules import (
    Holder,
    Offer,
    ReserveRequest,
    Stock,
    check_holder,
    check_limits,
    check_offer,
    check_sale,
    check_stock,
    deadline_of,
)
from wallet.vouchers.purchase_storage import (
    Purchase,
    count_reserved,
    find_holders,
    find_repeats,
    insert_purchases,
    lock_offers,
    lock_stock,
    reserve_units,
    take_up_offers,
)
from wallet.vouchers.reserve_by_phone import Buyers, ReserveByPhone
from wallet.vouchers.rules import check_period
from wallet.vouchers.storage import count_sets


class Reserved(msgspec.Struct, frozen=True, gc=False):
    """The units are kept; ``replayed`` when they were before, whatever has become of them."""

    purchase: Purchase
    replayed: bool


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Nothing was reserved and nothing kept; the same key may be used again."""

    refusal: Refusal


class ReserveFacts(Facts):
    """What a batch of reservations needs to know, by its keys; its decisions add to it."""

    __slots__ = (
        "buyers",
        "holders",
        "made",
        "offers",
        "programmes",
        "repeats",
        "stock",
        "taken_up",
        "units",
        "wallets",
    )

    programmes: dict[str, Programme]
    wallets: dict[UUID, WalletFacts]
    holders: dict[UUID, Holder]
    repeats: dict[tuple[UUID, str], Purchase]
    offers: dict[UUID, Offer]
    stock: dict[UUID, Stock]

    def __init__(self) -> None:
        super().__init__()
        self.buyers = Buyers()
        self.units: dict[tuple[UUID, UUID], int] = {}
        self.made: list[Purchase] = []
        self.taken_up: dict[UUID, Offer] = {}


class Reserve:
    """The kind of work behind :data:`RESERVE`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self,
        connection: Connection,
        asked: Sequence[ReserveRequest | ReserveByPhone],
        now_us: int,
    ) -> ReserveFacts:
        """Read everything for all requests, one query per table; lock wallets, offers, stock."""
        facts = ReserveFacts()
        by_phone = [one for one in asked if isinstance(one, ReserveByPhone)]
        if by_phone:
            await facts.buyers.find(connection, by_phone, now=to_datetime(now_us))
        requests = [one for one in asked if isinstance(one, ReserveRequest)]
        requests += facts.buyers.requests
        facts.wallets = await lock_wallets(connection, {r.wallet_id for r in requests})
        # After the lock: whoever has just reserved under the same key held it until the commit.
        facts.repeats = await find_repeats(connection, requests)
        facts.holders = await find_holders(connection, facts.wallets)
        versions = await find_versions(connection, {r.programme for r in requests})
        known = await self._shelf.take(connection, versions)
        facts.programmes = {known[i].code: known[i] for i in versions}
        await _count_units(connection, requests, facts)
        wanted = {r.application_id for r in requests if r.application_id is not None}
        facts.offers = await lock_offers(connection, wanted)
        facts.stock = await lock_stock(connection, versions)
        return facts

    def decide(
        self, asked: ReserveRequest | ReserveByPhone, facts: ReserveFacts, batch: Batch
    ) -> Reserved | Refused:
        """Decide one request against the facts; nothing is booked."""
        request = (
            asked
            if isinstance(asked, ReserveRequest)
            else facts.buyers.decide(asked, now_us=batch.now_us)
        )
        if isinstance(request, Refusal):
            return Refused(request)
        if batch.stops and _is_stopped(request, facts, batch):
            return Refused(Refusal("service_stopped"))
        programme = facts.programmes.get(request.programme)
        stock = None if programme is None else facts.stock.get(programme.id)
        if programme is None or stock is None or programme.frame is None:
            return Refused(Refusal("sale_unknown", {"programme": request.programme}))
        repeat = facts.repeats.get((request.wallet_id, request.idempotency_key))
        if repeat is not None:
            return _repeat(request, repeat, programme)
        offer = _offer_of(request, facts)
        # Nobody pays for what could not be issued when the money has been reported.
        refusal = check_period(programme, day=japanese_day(batch.now_us + SHORTEST_GRACE_US))
        refusal = refusal or _check(request, programme.frame, stock, offer, facts, batch)
        if refusal is not None:
            return Refused(refusal)
        last_day = programme.spending.last_day
        deadline_us = deadline_of(stock, offer, last_day=last_day, now_us=batch.now_us)
        purchase = _keep(request, programme.frame, stock, offer, deadline_us, facts, batch)
        return Reserved(purchase, replayed=False)

    async def record(
        self, connection: Connection, facts: ReserveFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the purchases, what is left, and the events."""
        del answers
        await facts.buyers.burn(connection, now_us=batch.now_us)
        if not facts.made:
            return
        await insert_purchases(connection, facts.made, now_us=batch.now_us)
        units: dict[UUID, int] = {}
        for one in facts.made:
            units[one.programme_id] = units.get(one.programme_id, 0) + one.units
        await reserve_units(connection, units)
        await take_up_offers(connection, facts.taken_up.values())
        events = [_event(one) for one in facts.made]
        await append(connection, events=events, now=to_datetime(batch.now_us))


RESERVE: Final = Reserve()
"""The kind of work that reserves; one in a process, with one shelf of programmes."""


async def _count_units(
    connection: Connection, requests: Sequence[ReserveRequest], facts: ReserveFacts
) -> None:
    """Count what each wallet has reserved, and what was ever issued to it on whatever way."""
    pairs = {
        (request.wallet_id, facts.programmes[request.programme].id)
        for request in requests
        if request.programme in facts.programmes
    }
    facts.units = await count_reserved(connection, pairs)
    purses = {
        purse.account_id: (wallet_id, purse.programme_id)
        for wallet_id, wallet in facts.wallets.items()
        for purse in wallet.purses
        if (wallet_id, purse.programme_id) in pairs and purse.funding == Funding.PAID
    }
    for account_id, sets in (await count_sets(connection, list(purses))).items():
        facts.units[purses[account_id]] += sets


def _is_stopped(request: ReserveRequest, facts: ReserveFacts, batch: Batch) -> bool:
    holder = facts.holders.get(request.wallet_id)
    return matches(
        batch.stops,
        ScopeKind.SALE,
        ScopeKind.ISSUE,
        programme=request.programme,
        tier=None if holder is None else holder.tier,
    )


def _repeat(request: ReserveRequest, known: Purchase, programme: Programme) -> Reserved | Refused:
    same = (known.programme_id, known.units, known.application_id) == (
        programme.id,
        request.units,
        request.application_id,
    )
    if not same:
        return Refused(Refusal("idempotency_conflict", {"purchase_id": known.id}))
    return Reserved(known, replayed=True)


def _offer_of(request: ReserveRequest, facts: ReserveFacts) -> Offer | None:
    if request.application_id is None:
        return None
    return facts.offers.get(request.application_id)


def _check(
    request: ReserveRequest,
    frame: Frame,
    stock: Stock,
    offer: Offer | None,
    facts: ReserveFacts,
    batch: Batch,
) -> Refusal | None:
    """Return the first reason not to reserve."""
    wallet = facts.wallets.get(request.wallet_id)
    if wallet is None:
        return Refusal("wallet_unknown")
    if wallet.state != "active":
        return Refusal("wallet_frozen")
    holder = facts.holders[request.wallet_id]
    refusal = check_holder(stock, holder) or check_sale(stock, now_us=batch.now_us)
    if refusal is None and (stock.mode == "offered" or request.application_id is not None):
        refusal = check_offer(offer, request, holder, now_us=batch.now_us)
    return (
        refusal
        or check_limits(
            request,
            holder,
            face_yen=frame.face_yen * request.units,
            units_held=facts.units[request.wallet_id, stock.programme_id],
            units_per_person=frame.sets_per_person,
            balance_yen_max=limits_of(holder.tier).balance_yen,
        )
        or check_stock(stock, units=request.units)
    )


def _keep(
    request: ReserveRequest,
    frame: Frame,
    stock: Stock,
    offer: Offer | None,
    deadline_us: int,
    facts: ReserveFacts,
    batch: Batch,
) -> Purchase:
    """Count the units as reserved, for the rest of the batch and for the record."""
    purchase = Purchase(
        id=request.purchase_id,
        programme_id=stock.programme_id,
        wallet_id=request.wallet_id,
        person_id=request.person_id,
        idempotency_key=request.idempotency_key,
        units=request.units,
        price_yen=frame.price_yen * request.units,
        face_yen=frame.face_yen * request.units,
        state="reserved",
        application_id=request.application_id,
        round=None if offer is None else offer.round,
        created_us=batch.now_us,
        deadline_us=deadline_us,
    )
    stock.units_reserved += request.units
    facts.units[request.wallet_id, stock.programme_id] += request.units
    facts.holders[request.wallet_id].held_yen += purchase.face_yen
    if offer is not None:
        offer.units_bought += request.units
        facts.taken_up[offer.application_id] = offer
    facts.repeats[request.wallet_id, request.idempotency_key] = purchase
    facts.made.append(purchase)
    return purchase


_encode: Final = msgspec.json.Encoder().encode


def _event(purchase: Purchase) -> Event:
    """The thin body others will hear: ids and amounts."""
    body = {
        "purchase_id": purchase.id,
        "wallet_id": purchase.wallet_id,
        "programme_id": purchase.programme_id,
        "units": purchase.units,
        "price_yen": purchase.price_yen,
    }
    return Event(purchase.id, "purchase.reserved", _encode(body).decode())
