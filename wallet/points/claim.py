"""What becomes of a gift that waits: whoever has its code claims it, or its giver takes it back.

Both free the giver's purses of the holds; a claim moves the money in the same chain. Whatever
changes such a gift holds the lock on the giver's wallet, so one of two claims finds it gone.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import append
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_GIFT
from wallet.ledger.rules import NIL, VOID_PENDING, Hold, Transfer
from wallet.ledger.storage import Prior, lock_holds
from wallet.ledger.work import Batch
from wallet.ops.rules import ScopeKind, matches
from wallet.points.give import (
    GIVEN,
    Gave,
    Refused,
    event_of,
    freed_leg,
    give_leg,
    given_leg,
    held_leg,
)
from wallet.points.parties import Party, PointsFacts, book_chain
from wallet.points.rules import LEGS_MAX
from wallet.points.storage import Gift, find_by_codes, find_by_ids, settle_gifts
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Draw

CANCELLED: Final = "gift.cancelled"

_VERSIONS: Final = "SELECT id, version FROM programme WHERE id = ANY($1::uuid[])"


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A person has a gift's code and wants what it stands for."""

    claimer_id: UUID
    code_hash: bytes
    app_version: str | None = None


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """A giver wants back what nobody has claimed yet."""

    giver_id: UUID
    gift_id: UUID


class SettleFacts(PointsFacts):
    """What a batch of claims and cancellations needs to know."""

    __slots__ = ("by_code", "gifts", "settled")

    def __init__(self, *, now_us: int) -> None:
        super().__init__(now_us=now_us)
        self.gifts: dict[UUID, Gift] = {}
        self.by_code: dict[bytes, UUID] = {}
        self.settled: list[tuple[Gift, str]] = []


class SettleGift:
    """The kind of work behind :data:`SETTLE_GIFT`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[Claim | Cancel], now_us: int
    ) -> SettleFacts:
        """Find the gifts, lock both sides' wallets, read the gifts again, lock their holds."""
        facts = SettleFacts(now_us=now_us)
        claims = [r for r in requests if isinstance(r, Claim)]
        named = await find_by_codes(connection, {r.code_hash for r in claims})
        facts.by_code = {code_hash: gift.id for code_hash, gift in named.items()}
        ids = {r.gift_id for r in requests if isinstance(r, Cancel)} | set(facts.by_code.values())
        found = await find_by_ids(connection, ids)
        await facts.take_parties(
            connection, {g.giver_id for g in found.values()} | {r.claimer_id for r in claims}
        )
        facts.gifts = await find_by_ids(connection, ids)
        waiting = [gift.id for gift in facts.gifts.values() if gift.state == "waiting"]
        holds = await lock_holds(
            connection, {held_leg(one, n) for one in waiting for n in range(1, LEGS_MAX + 1)}
        )
        facts.prior = Prior(
            holds=holds, transfers={one: hold.transfer for one, hold in holds.items()}
        )
        programme_ids = {gift.programme_id for gift in facts.gifts.values()}
        versions = dict(await connection.fetch(_VERSIONS, list(programme_ids)))
        await facts.take_programmes(connection, self._shelf, versions)
        return facts

    def decide(self, request: Claim | Cancel, facts: SettleFacts, batch: Batch) -> Gave | Refused:
        """Decide one request against the book."""
        if isinstance(request, Cancel):
            return _cancel(request, facts, batch)
        return _claim(request, facts, batch)

    async def record(
        self, connection: Connection, facts: SettleFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write what has become of the gifts, and the purses that were opened."""
        del answers, batch
        await facts.record_purses(connection)
        await settle_gifts(connection, [gift for gift, _ in facts.settled], now=facts.now)
        events = [
            event_of(gift, programme, kind=GIVEN if gift.state == "given" else CANCELLED, number=1)
            for gift, programme in facts.settled
        ]
        await append(connection, events=events, now=facts.now)


SETTLE_GIFT: Final = SettleGift()
"""The kind of work that settles gifts which wait; one in a process."""


def _claim(request: Claim, facts: SettleFacts, batch: Batch) -> Gave | Refused:
    gift_id = facts.by_code.get(request.code_hash)
    gift = None if gift_id is None else facts.gifts[gift_id]
    if gift is None:
        return Refused(Refusal("gift_code_unknown"))
    programme = facts.programmes[gift.programme_id]
    if gift.receiver_id == request.claimer_id:
        return Gave(gift, programme.code, replayed=True)
    claimer = facts.parties.get(request.claimer_id)
    refusal = _refuse_claim(request, gift, claimer, facts, batch)
    if refusal is not None or claimer is None:
        return Refused(refusal or Refusal("wallet_unknown"))
    done = msgspec.structs.replace(
        gift,
        state="given",
        receiver_id=claimer.id,
        receiver_wallet_id=claimer.wallet_id,
        decided_at=facts.now,
    )
    holds = _holds_of(gift, batch)
    legs = _free(gift, holds)
    giver = facts.parties[gift.giver_id]
    for number, hold in enumerate(holds, 1):
        part = _part_of(hold, giver)
        legs.append(give_leg(given_leg(gift.id, number), part, claimer, gift, facts, batch))
    book_chain(legs, batch)
    return _settle(done, facts)


def _refuse_claim(
    request: Claim, gift: Gift, claimer: Party | None, facts: SettleFacts, batch: Batch
) -> Refusal | None:
    if claimer is None:
        return Refusal("wallet_unknown")
    programme = facts.programmes[gift.programme_id]
    if batch.stops and matches(
        batch.stops,
        ScopeKind.GIFT,
        programme=programme.code,
        tier=claimer.tier,
        app_version=request.app_version,
    ):
        return Refusal("service_stopped")
    if gift.giver_id == claimer.id:
        return Refusal("gift_to_self")
    return _refuse_claimer(gift, claimer, facts, batch)


def _refuse_claimer(gift: Gift, claimer: Party, facts: SettleFacts, batch: Batch) -> Refusal | None:
    if not _waits(gift, facts):
        return Refusal("gift_over")
    if not claimer.is_active:
        return Refusal("wallet_frozen")
    if claimer.limits.gift_day_yen == 0:
        return Refusal("gift_not_for_tier", {"tier": claimer.tier})
    # Somebody who stops everything of theirs may have been tricked into this very gift.
    giver = facts.parties[gift.giver_id]
    if not giver.is_active or giver.wallet_id != gift.giver_wallet_id:
        return Refusal("gift_on_hold")
    programme = facts.programmes[gift.programme_id]
    return facts.refuse_room(claimer, programme, amount_yen=gift.amount_yen, batch=batch)


def _cancel(request: Cancel, facts: SettleFacts, batch: Batch) -> Gave | Refused:
    gift = facts.gifts.get(request.gift_id)
    if gift is None or gift.giver_id != request.giver_id:
        return Refused(Refusal("gift_unknown"))
    code = facts.programmes[gift.programme_id].code
    if gift.state == "cancelled":
        return Gave(gift, code, replayed=True)
    if gift.state == "given":
        return Refused(Refusal("gift_claimed"))
    if not _waits(gift, facts):
        return Refused(Refusal("gift_over"))
    if "all" in batch.stops:
        return Refused(Refusal("service_stopped"))
    book_chain(_free(gift, _holds_of(gift, batch)), batch)
    return _settle(msgspec.structs.replace(gift, state="cancelled", decided_at=facts.now), facts)


def _waits(gift: Gift, facts: SettleFacts) -> bool:
    return gift.state == "waiting" and gift.expires_at is not None and gift.expires_at > facts.now


def _settle(gift: Gift, facts: SettleFacts) -> Gave:
    programme = facts.programmes[gift.programme_id].code
    facts.gifts[gift.id] = gift
    facts.settled.append((gift, programme))
    return Gave(gift, programme, replayed=False)


def _holds_of(gift: Gift, batch: Batch) -> list[Hold]:
    ids = (held_leg(gift.id, number) for number in range(1, LEGS_MAX + 1))
    return [hold for one in ids if (hold := batch.book.holds.get(one)) is not None]


def _free(gift: Gift, holds: Sequence[Hold]) -> list[Transfer]:
    """Return what voids the holds, in their order."""
    return [
        Transfer(
            freed_leg(gift.id, number),
            NIL,
            NIL,
            hold.transfer.amount,
            LEDGER_JPY,
            TRANSFER_GIFT,
            VOID_PENDING,
            pending_id=hold.transfer.id,
            user_data_128=gift.giver_wallet_id,
            user_data_32=hold.transfer.user_data_32,
        )
        for number, hold in enumerate(holds, 1)
    ]


def _part_of(hold: Hold, giver: Party) -> Draw:
    account_id = hold.transfer.debit_account_id
    purse = next(purse for purse in giver.purses if purse.account_id == account_id)
    return Draw(purse, hold.transfer.amount)
