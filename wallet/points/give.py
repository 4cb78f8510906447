"""Give: what somebody has paid for goes to somebody else, at once or to whoever has its code.

A gift to somebody who is named moves from purse to purse, with its last day. One that is passed on
by a code is held in the giver's purses and stays theirs: until it is claimed they may take it back,
and what nobody claims is free again by itself when the code runs out. The holds are pending
transfers to the programme's clearing account, which are voided and never posted.

The order of decisions is fixed: repeats, stops, the programme, the giver, the receiver, the limits,
the money, and what the giver must show last.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.auth.rules import (
    Acr,
    Operation,
    Outcome,
    Requirement,
    Risk,
    StepUp,
    check_step_up,
    op_hash,
)
from wallet.auth.step_up_table import requirement
from wallet.core.clock import JST
from wallet.core.database import Connection
from wallet.core.ids import numbered_id, public_id
from wallet.core.money import CURRENCY
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_GIFT
from wallet.ledger.rules import PENDING, Transfer
from wallet.ledger.work import Batch
from wallet.ops.rules import ScopeKind, matches
from wallet.points.parties import Party, PointsFacts, available_of, book_chain, transfer_of
from wallet.points.rules import LEGS_MAX, GiftCase, check_gift, plan_gift
from wallet.points.step_ups import consume_step_ups, lock_step_ups
from wallet.points.storage import (
    Gift,
    Given,
    add_up_given,
    find_by_keys,
    find_known,
    insert_gifts,
)
from wallet.programmes.purses import find_versions
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Draw, Programme, Purse

CODE_DAYS: Final = 7
"""How long a gift waits for whoever has its code; never beyond the last day of what is in it."""

GIVEN: Final = "gift.given"
WAITING: Final = "gift.waiting"

_encode: Final = msgspec.json.Encoder().encode


class Give(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A person's request to give: to ``receiver_id``, or without one to whoever has the code.

    ``gift_id`` is made by :func:`align_id`. ``cooling_until`` is that of the phone that asks, and
    ``step_up_id`` the challenge that was passed for it.
    """

    gift_id: UUID
    giver_id: UUID
    idempotency_key: str
    programme: str
    amount_yen: int
    receiver_id: UUID | None = None
    code_hash: bytes | None = None
    app_version: str | None = None
    cooling_until: datetime | None = None
    step_up_id: UUID | None = None

    def __post_init__(self) -> None:
        """Refuse what names nobody, or both somebody and a code."""
        if (self.receiver_id is None) == (self.code_hash is None):
            message = "a gift is to somebody or goes by a code"
            raise ValueError(message)

    @property
    def operation(self) -> dict[str, Any]:
        """What is approved, as it is hashed: one yen or another receiver is another operation."""
        receiver_id = self.receiver_id
        return {
            "op": "gift",
            "giver": public_id("per", self.giver_id),
            "receiver": "code" if receiver_id is None else public_id("per", receiver_id),
            "programme": self.programme,
            "amount": self.amount_yen,
            "currency": CURRENCY,
            "idempotency_key": self.idempotency_key,
        }


class Gave(msgspec.Struct, frozen=True, gc=False):
    """The gift was made, or had been made before by the same request (``replayed``)."""

    gift: Gift
    programme: str
    replayed: bool


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Nothing has moved and nothing was kept."""

    refusal: Refusal


class Asked(msgspec.Struct, frozen=True, gc=False):
    """Everything fits, and the giver must show more than their phone before it is made."""

    operation: Operation
    requirement: Requirement


Answer = Gave | Refused | Asked


class GiveFacts(PointsFacts):
    """What a batch of gifts needs to know."""

    __slots__ = ("by_key", "given", "known", "new_gifts", "step_ups", "used")

    def __init__(self, *, now_us: int) -> None:
        super().__init__(now_us=now_us)
        self.by_key: dict[tuple[UUID, str], Gift] = {}
        self.given: dict[UUID, list[Given]] = {}
        self.known: set[tuple[UUID, UUID]] = set()
        self.step_ups: dict[UUID, StepUp] = {}
        self.used: dict[UUID, UUID] = {}
        self.new_gifts: list[tuple[Gift, str]] = []


class GiveWork:
    """The kind of work behind :data:`GIVE`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[Give], now_us: int
    ) -> GiveFacts:
        """Read everything for all requests, locking challenges and then wallets."""
        facts = GiveFacts(now_us=now_us)
        facts.step_ups = await lock_step_ups(
            connection, {r.step_up_id for r in requests if r.step_up_id is not None}
        )
        givers = {r.giver_id for r in requests}
        pairs = {(r.giver_id, r.receiver_id) for r in requests if r.receiver_id is not None}
        await facts.take_parties(connection, givers | {receiver for _, receiver in pairs})
        facts.by_key = await find_by_keys(
            connection, {(r.giver_id, r.idempotency_key) for r in requests}
        )
        facts.given = await add_up_given(connection, givers, day=facts.day, now=facts.now)
        facts.known = await find_known(connection, pairs)
        earlier = {g.programme_id for g in facts.by_key.values()}
        versions = await find_versions(connection, {r.programme for r in requests})
        # Of a repeat only the code is looked at, which no version changes.
        await facts.take_programmes(
            connection, self._shelf, {**dict.fromkeys(earlier, 0), **versions}
        )
        facts.added_ids.update(one.clearing_account_id for one in facts.codes.values())
        return facts

    def decide(self, request: Give, facts: GiveFacts, batch: Batch) -> Answer:
        """Decide one request against the book."""
        repeat = _find_repeat(request, facts)
        if repeat is not None:
            return repeat
        programme = facts.codes.get(request.programme)
        giver = facts.parties.get(request.giver_id)
        refusal = _check(request, giver, programme, facts, batch)
        if refusal is not None or giver is None or programme is None:
            return Refused(refusal or Refusal("wallet_unknown"))
        draws = _plan(request, giver, programme, facts, batch)
        if isinstance(draws, Refusal):
            return Refused(draws)
        lacking = _check_level(request, facts)
        return lacking or _book(request, giver, programme, draws, facts, batch)

    async def record(
        self, connection: Connection, facts: GiveFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the gifts, the purses they have opened, and use the challenges up."""
        del answers, batch
        await facts.record_purses(connection)
        await consume_step_ups(connection, facts.used, now=facts.now)
        await insert_gifts(connection, [gift for gift, _ in facts.new_gifts])
        events = [
            event_of(gift, programme, kind=WAITING if gift.receiver_id is None else GIVEN)
            for gift, programme in facts.new_gifts
        ]
        await append(connection, events=events, now=facts.now)


GIVE: Final = GiveWork()
"""The kind of work that gives; one in a process."""


def event_of(gift: Gift, programme: str, *, kind: str, number: int = 0) -> Event:
    """Return what others hear of a gift: ids and the amount.

    ``number`` tells what is heard of one gift apart: 0 when it is made, another when it is settled.
    """
    body = {
        "gift_id": gift.id,
        "giver_id": gift.giver_id,
        "receiver_id": gift.receiver_id,
        "programme": programme,
        "amount_yen": gift.amount_yen,
    }
    return Event(numbered_id(gift.id, number), kind, _encode(body).decode())


def refuse_party(party: Party, *, cooling_until: datetime | None, now: datetime) -> Refusal | None:
    """Return why somebody may not give at all now, or None.

    Who has changed how they sign in gives nothing for twelve hours, for it may not be them.
    """
    if not party.is_active:
        return Refusal("wallet_frozen")
    cooling = [until for until in (party.cooling_until, cooling_until) if until is not None]
    if cooling and max(cooling) > now:
        return Refusal("gift_cooling_off")
    if party.limits.gift_day_yen == 0:
        return Refusal("gift_not_for_tier", {"tier": party.tier})
    return None


def refuse_receiver(
    receiver: Party | None,
    programme: Programme,
    *,
    amount_yen: int,
    facts: PointsFacts,
    batch: Batch,
) -> Refusal | None:
    """Return why somebody may not be given this much, or None; what it is says little of them."""
    if receiver is None or not receiver.is_active or receiver.limits.gift_day_yen == 0:
        return Refusal("gift_receiver_unknown")
    refusal = facts.refuse_room(receiver, programme, amount_yen=amount_yen, batch=batch)
    if refusal is None:
        return None
    is_full = refusal.code == "balance_limit"
    return Refusal("gift_receiver_full" if is_full else "gift_receiver_unknown")


def give_leg(
    transfer_id: UUID, one: Draw, receiver: Party, gift: Gift, facts: PointsFacts, batch: Batch
) -> Transfer:
    """Return the transfer of one part of a gift, into the receiver's purse of the same last day."""
    own = one.purse
    wanted = Purse(transfer_id, own.programme_id, own.funding, own.expires_on)
    return transfer_of(
        transfer_id,
        accounts=(own.account_id, facts.open_purse(receiver, wanted, batch).account_id),
        amount_yen=one.amount_yen,
        code=TRANSFER_GIFT,
        wallet_id=gift.giver_wallet_id,
        number=facts.programmes[own.programme_id].number,
    )


def _find_repeat(request: Give, facts: GiveFacts) -> Gave | Refused | None:
    """Answer a request that was made before; with another content its key is taken."""
    found = facts.by_key.get((request.giver_id, request.idempotency_key))
    if found is None:
        return None
    programme = facts.programmes[found.programme_id]
    by_code = found.code_hash is not None
    same = (
        programme.code == request.programme
        and found.amount_yen == request.amount_yen
        and (by_code or found.receiver_id == request.receiver_id)
        and by_code == (request.code_hash is not None)
    )
    if not same:
        return Refused(Refusal("idempotency_conflict"))
    return Gave(found, programme.code, replayed=True)


def _is_stopped(request: Give, giver: Party | None, stops: frozenset[str]) -> bool:
    return matches(
        stops,
        ScopeKind.GIFT,
        programme=request.programme,
        tier=None if giver is None else giver.tier,
        app_version=request.app_version,
    )


def _check(
    request: Give,
    giver: Party | None,
    programme: Programme | None,
    facts: GiveFacts,
    batch: Batch,
) -> Refusal | None:
    if batch.stops and _is_stopped(request, giver, batch.stops):
        return Refusal("service_stopped")
    if programme is None:
        return Refusal("programme_unknown", {"programme": request.programme})
    if giver is None:
        return Refusal("wallet_unknown")
    refusal = refuse_party(giver, cooling_until=request.cooling_until, now=facts.now)
    if refusal is not None:
        return refusal
    if not programme.terms.gifts.allowed:
        return Refusal("gift_not_allowed", {"programme": programme.code})
    return _check_receiver(request, programme, facts, batch)


def _check_receiver(
    request: Give, programme: Programme, facts: GiveFacts, batch: Batch
) -> Refusal | None:
    receiver_id = request.receiver_id
    if receiver_id is None:
        return None
    if receiver_id == request.giver_id:
        return Refusal("gift_to_self")
    return refuse_receiver(
        facts.parties.get(receiver_id),
        programme,
        amount_yen=request.amount_yen,
        facts=facts,
        batch=batch,
    )


def _plan(
    request: Give, giver: Party, programme: Programme, facts: GiveFacts, batch: Batch
) -> list[Draw] | Refusal:
    given = facts.given.get(giver.id, [])
    case = GiftCase(
        tier=giver.limits,
        gifts=programme.terms.gifts,
        given_day_yen=sum(one.day_yen for one in given),
        given_month_yen=sum(one.month_yen for one in given),
        given_month_programme_yen=sum(
            one.month_yen for one in given if one.programme_id == programme.id
        ),
    )
    refusal = check_gift(case, amount_yen=request.amount_yen)
    if refusal is not None:
        return refusal
    return plan_gift(
        available_of(giver, programme, batch), amount_yen=request.amount_yen, day=facts.day
    )


def _check_level(request: Give, facts: GiveFacts) -> Refused | Asked | None:
    """Return None when the giver has shown enough; a challenge they passed is then used up."""
    receiver_id = request.receiver_id
    is_known = receiver_id is not None and (request.giver_id, receiver_id) in facts.known
    operation = Operation.GIFT if is_known else Operation.GIFT_NEW_PAYEE
    needed = requirement(
        operation=operation, amount_yen=request.amount_yen, risk=Risk.LOW, bands_open=()
    )
    if needed.outcome is not Outcome.STEP_UP:
        return Refused(Refusal("counter_only"))
    if request.step_up_id is None:
        return None if Acr.DEV in needed.require else Asked(operation, needed)
    step_up = facts.step_ups.get(request.step_up_id)
    refusal = check_step_up(
        step_up,
        principal_id=request.giver_id,
        op_hash=op_hash(request.operation),
        requirement=needed,
        now=facts.now,
    )
    if refusal is None and request.step_up_id in facts.used:
        refusal = Refusal("step_up_used")
    if refusal is not None:
        return Refused(refusal)
    facts.used[request.step_up_id] = request.gift_id
    return None


def _book(
    request: Give,
    giver: Party,
    programme: Programme,
    draws: Sequence[Draw],
    facts: GiveFacts,
    batch: Batch,
) -> Gave:
    """Move or hold the money, and count it."""
    receiver = None if request.receiver_id is None else facts.parties[request.receiver_id]
    expires_at = None if receiver is not None else _expiry(draws, facts.now)
    gift = Gift(
        request.gift_id,
        giver.id,
        giver.wallet_id,
        None if receiver is None else receiver.id,
        None if receiver is None else receiver.wallet_id,
        programme.id,
        request.amount_yen,
        "waiting" if receiver is None else "given",
        request.idempotency_key,
        request.code_hash,
        facts.day,
        facts.now,
        expires_at,
        None,
    )
    if receiver is None:
        legs = [_hold(n, one, gift, programme, facts) for n, one in enumerate(draws, 1)]
    else:
        legs = [
            give_leg(given_leg(gift.id, n), one, receiver, gift, facts, batch)
            for n, one in enumerate(draws, 1)
        ]
        facts.known.add((giver.id, receiver.id))
    book_chain(legs, batch)
    facts.by_key[giver.id, gift.idempotency_key] = gift
    counted = Given(programme.id, gift.amount_yen, gift.amount_yen)
    facts.given.setdefault(giver.id, []).append(counted)
    facts.new_gifts.append((gift, programme.code))
    return Gave(gift, programme.code, replayed=False)


def held_leg(gift_id: UUID, number: int) -> UUID:
    """Return the id of the hold on one part of a gift, from 1 on."""
    return numbered_id(gift_id, number)


def freed_leg(gift_id: UUID, number: int) -> UUID:
    """Return the id by which a hold is voided."""
    return numbered_id(gift_id, LEGS_MAX + number)


def given_leg(gift_id: UUID, number: int) -> UUID:
    """Return the id by which a part of a gift reaches its receiver."""
    return numbered_id(gift_id, 2 * LEGS_MAX + number)


def _hold(number: int, one: Draw, gift: Gift, programme: Programme, facts: GiveFacts) -> Transfer:
    left = (gift.expires_at or facts.now) - facts.now
    held = transfer_of(
        held_leg(gift.id, number),
        accounts=(one.purse.account_id, programme.clearing_account_id),
        amount_yen=one.amount_yen,
        code=TRANSFER_GIFT,
        wallet_id=gift.giver_wallet_id,
        number=programme.number,
    )
    return msgspec.structs.replace(
        held, flags=PENDING, timeout_s=max(1, math.ceil(left.total_seconds()))
    )


def _expiry(draws: Sequence[Draw], now: datetime) -> datetime:
    """Return when a code runs out: after so many days, or with the first of the money."""
    last_day = min(one.purse.expires_on for one in draws)
    over = datetime.combine(last_day + timedelta(days=1), time(), JST).astimezone(UTC)
    return min(now + timedelta(days=CODE_DAYS), over)
