"""What comes with a payment: bonuses that it brings, and a coupon that takes something off it.

A batch in which no wallet has money of a programme with a bonus, and none has chosen a coupon,
asks nobody and decides nothing here. Otherwise the budgets that give are drawn on to the last yen
and no further. A budget that has run out, a stop, or a programme that is over ends the bonus or
the coupon, and never the payment.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.clock import JST
from wallet.core.database import Connection
from wallet.ledger.work import Batch
from wallet.ops.rules import ScopeKind, matches
from wallet.payments.extras_storage import Grant, TotalKey, Totals, Use, insert_uses, read_totals
from wallet.payments.rules import Holder
from wallet.programmes.bonus import Bonus, Event, caps_of, is_due, most_of
from wallet.programmes.coupons import Coupon
from wallet.programmes.purses import find_versions, insert_purses
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Programme, Purse
from wallet.programmes.terms import expires_on_of

LIVE: Final = "live"


class Offer(msgspec.Struct, frozen=True, gc=False):
    """A bonus that may be given on one day: under which name, of which programme's money.

    ``caps`` are a person's. It can be spent from ``usable_on``; ``expires_on`` is of the purse that
    it goes to on this day.
    """

    bonus: Bonus
    key: str
    programme: Programme
    caps: tuple[tuple[str, int], ...]
    usable_on: date
    expires_on: date

    @property
    def vests_later(self) -> bool:
        """Whether it is set aside first."""
        return self.bonus.vests_after_days > 0

    @property
    def can_be_given(self) -> bool:
        """Whether its programme gives as yet, and it can still be spent when it vests."""
        programme = self.programme
        return programme.state == LIVE and self.usable_on <= programme.spending.last_day


class Extras:
    """What a batch knows of bonuses and coupons, and what its decisions add."""

    __slots__ = (
        "at",
        "coupons",
        "day",
        "drawn",
        "new_grants",
        "new_purses",
        "new_uses",
        "now",
        "offers",
        "programmes",
        "totals",
    )

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.at = now.astimezone(JST)
        self.day = self.at.date()
        # Bonuses by the programme whose money may bring them; coupons by wallet.
        self.offers: dict[UUID, Sequence[Offer]] = {}
        self.coupons: dict[UUID, tuple[Programme, Coupon]] = {}
        self.programmes: dict[str, Programme] = {}
        self.totals = Totals({})
        # What budgets give, and reserves take in, at most: yen by account.
        self.drawn: dict[UUID, int] = {}
        self.new_grants: list[Grant] = []
        self.new_purses: list[tuple[UUID, Purse]] = []
        self.new_uses: list[Use] = []

    async def record(self, connection: Connection) -> None:
        """Write what the decisions have added besides bonuses and what is counted of them."""
        if self.new_purses:
            await insert_purses(connection, self.new_purses)
        if self.new_uses:
            await insert_uses(connection, self.new_uses, now=self.now)


async def gather_extras(
    connection: Connection,
    shelf: ProgrammeShelf,
    *,
    now: datetime,
    holders: Collection[Holder],
    purses: Mapping[UUID, Collection[Purse]],
    programmes: Collection[Programme],
    amounts_yen: Collection[int],
) -> Extras | None:
    """Return what payments of the amounts, out of the holders' wallets, may bring; None: nothing.

    ``programmes`` are those of the purses. What is ``drawn`` on is to be locked where it is short.
    """
    giving = [one for one in programmes if one.terms.bonuses]
    choosing = [holder for holder in holders if holder.coupon is not None]
    if not giving and not choosing:
        return None
    extras = Extras(now)
    due = {one.id: bonuses for one in giving if (bonuses := bonuses_due(one, "payment", extras.at))}
    if not due and not choosing:
        return None
    names = {_programme_of(holder) for holder in choosing}
    names.update(b.target or one.code for one in giving for b in due.get(one.id, ()))
    await load_programmes(connection, shelf, extras, names, known=programmes)
    for one in giving:
        if one.id in due:
            extras.offers[one.id] = offers_of(extras, one, due[one.id])
    _find_coupons(extras, choosing)
    _bound(extras, amounts_yen)
    keys = _keys(extras, holders, purses)
    bearing_ids = {programme.id for programme, _ in extras.coupons.values()}
    shared = [key for key in keys if key[0] in bearing_ids]
    extras.totals = await read_totals(connection, keys, shared=shared)
    return extras


def bonuses_due(programme: Programme, event: Event, at: datetime) -> list[Bonus]:
    """Return the bonuses of a programme that such an event may bring at ``at``, Japanese time."""
    return [bonus for bonus in programme.terms.bonuses if is_due(bonus, on=event, at=at)]


async def load_programmes(
    connection: Connection,
    shelf: ProgrammeShelf,
    extras: Extras,
    codes: Collection[str],
    *,
    known: Iterable[Programme] = (),
) -> None:
    """Have the programmes whose budgets give."""
    found = {programme.code: programme for programme in known}
    missing = set(codes).difference(found)
    if missing:
        versions = await find_versions(connection, missing)
        shelved = await shelf.take(connection, versions)
        found.update((shelved[one].code, shelved[one]) for one in versions)
    extras.programmes = {code: found[code] for code in codes if code in found}


def offers_of(extras: Extras, programme: Programme, bonuses: Iterable[Bonus]) -> list[Offer]:
    """Return the bonuses of a programme as they may be given on this day."""
    offers = []
    for bonus in bonuses:
        target = extras.programmes.get(bonus.target or programme.code)
        if target is not None:
            offer = Offer(
                bonus,
                f"{programme.code}/{bonus.code}",
                target,
                caps_of(bonus, extras.day),
                extras.day + timedelta(days=bonus.vests_after_days),
                expires_on_of(target.terms, extras.day),
            )
            offers.append(offer)
    return [offer for offer in offers if offer.can_be_given]


def reserve_of(programme: Programme) -> UUID:
    """Return the account in which a programme's bonus waits until it vests.

    It has the programme's own id, so nothing has to remember it; it is opened when first needed.
    """
    return programme.id


def _bound(extras: Extras, amounts_yen: Collection[int]) -> None:
    """Note which accounts the giving takes, and how much of each at most."""
    drawn = extras.drawn
    for bearing, _ in extras.coupons.values():
        drawn[bearing.budget_account_id] = sum(amounts_yen)
    for offers in extras.offers.values():
        for offer in offers:
            most_yen = sum([most_of(offer.bonus, base_yen=yen) for yen in amounts_yen])
            budget = offer.programme.budget_account_id
            drawn[budget] = drawn.get(budget, 0) + most_yen
            if offer.vests_later:
                drawn[reserve_of(offer.programme)] = 0


def _keys(
    extras: Extras, holders: Iterable[Holder], purses: Mapping[UUID, Collection[Purse]]
) -> set[TotalKey]:
    """Return the totals that are capped, of all who may get a bonus or use a coupon."""
    keys: set[TotalKey] = set()
    capped = {one: offers for one, offers in extras.offers.items() if any(o.caps for o in offers)}
    if not capped and not extras.coupons:
        return keys
    for holder in holders:
        if capped:
            own = {purse.programme_id for purse in purses[holder.id]}
            for programme_id in own & capped.keys():
                keys.update(keys_of(capped[programme_id], holder.owner_id))
        if holder.id in extras.coupons:
            keys.update(_coupon_keys(extras, holder))
    return keys


def keys_of(offers: Iterable[Offer], holder_id: UUID) -> Iterable[TotalKey]:
    """Return the totals that somebody's bonuses are capped by."""
    return [(holder_id, offer.key, period) for offer in offers for period, _ in offer.caps]


def _programme_of(holder: Holder) -> str:
    return (holder.coupon or "").partition(":")[0]


def _find_coupons(extras: Extras, choosing: Iterable[Holder]) -> None:
    for holder in choosing:
        programme = extras.programmes.get(_programme_of(holder))
        for coupon in () if programme is None else programme.terms.coupons:
            if programme is not None and coupon.key(programme.code) == holder.coupon:
                extras.coupons[holder.id] = (programme, coupon)


def _coupon_keys(extras: Extras, holder: Holder) -> Iterable[TotalKey]:
    programme, coupon = extras.coupons[holder.id]
    key = coupon.key(programme.code)
    if coupon.per_person is not None:
        yield (holder.owner_id, key, "")
    if coupon.first is not None:
        yield (programme.id, key, "")


def left_in_budget(programme: Programme, batch: Batch) -> int:
    """Return what a programme's budget may still give in this batch, in yen.

    While the budget holds plenty, that is only what the batch asked for (``drawn``), and enough.
    """
    balance = batch.book.balances.get(programme.budget_account_id)
    return 0 if balance is None else balance.available - (balance.min_available or 0)


def may_give(programme: Programme, batch: Batch) -> bool:
    """Whether no stop keeps a programme's budget from giving."""
    stops = batch.stops
    return not stops or not matches(stops, ScopeKind.ISSUE, programme=programme.code)
