"""Refund: a shop gives a payment back, whole or in part, to the very purses it came from.

Whatever was drawn last comes back first, and each class of money stays what it was. Money whose
last day is over goes where its programme says. A bonus that the payment had brought goes back to
the budget that gave it, as far as its holder has not spent it. The day's limits stay used up:
otherwise a shop and a holder could pass any amount through a wallet in a day.

All refunds of a wallet's payments are decided one after the other, because each locks its holder;
so no more of a payment comes back than was paid, whoever asks at once.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.database import Connection
from wallet.core.ids import numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_COUPON, TRANSFER_REFUND
from wallet.ledger.rules import LINKED, AccountCode, Transfer, TransferCode
from wallet.ledger.teller import Teller
from wallet.ledger.work import Batch, Facts
from wallet.ops.rules import matches
from wallet.payments import refund_storage as storage
from wallet.payments.refund_bonuses import Bonuses, gather_bonuses, take_back
from wallet.payments.refund_rules import (
    Leg,
    Refund,
    RefundPart,
    RefundRequest,
    Share,
    Target,
    check_amount,
    is_over,
    later_day,
    release,
)
from wallet.payments.refund_storage import Paid
from wallet.programmes.purses import (
    WalletFacts,
    find_purse,
    insert_purses,
    lock_wallets,
    purse_account,
)
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Programme, Purse


class Refunded(msgspec.Struct, frozen=True, gc=False):
    """What has come back; ``replayed`` when it had before."""

    refund: Refund
    replayed: bool


class RefundRefused(msgspec.Struct, frozen=True, gc=False):
    """Nothing came back and nothing is kept; the same names may be used again."""

    refusal: Refusal


class RefundFacts(Facts):
    """What a batch of refunds needs to know; its decisions add to it."""

    __slots__ = (
        "bonuses",
        "by_name",
        "day",
        "homes",
        "legs",
        "new_purses",
        "new_refunds",
        "paid",
        "programmes",
        "purses",
        "wallets",
    )

    paid: dict[UUID, Paid]
    legs: dict[UUID, list[Leg]]
    by_name: dict[tuple[UUID, str], Refund]
    wallets: dict[UUID, WalletFacts]
    programmes: dict[UUID, Programme]
    bonuses: Bonuses

    def __init__(self, *, now_us: int) -> None:
        super().__init__()
        self.day: date = japanese_day(now_us)
        self.homes: dict[tuple[UUID, int], Purse] = {}
        self.purses: dict[UUID, Purse] = {}
        self.new_purses: list[tuple[UUID, Purse]] = []
        self.new_refunds: list[Refund] = []

    def home_of(self, leg: Leg) -> Purse | None:
        """Return the purse a part came from, or that its money would have been moved to since.

        None for what came from no purse.
        """
        return self.homes.get((leg.account_id, leg.at_us)) or self.purses.get(leg.account_id)

    def budget_of(self, account_id: UUID) -> Programme | None:
        """Return the programme whose budget an account is, None for none."""
        for programme in self.programmes.values():
            if programme.budget_account_id == account_id:
                return programme
        return None


class GiveBack:
    """The kind of work behind :data:`GIVE_BACK`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[RefundRequest], now_us: int
    ) -> RefundFacts:
        """Find the payments, lock their holders, and see what has come back before."""
        facts = RefundFacts(now_us=now_us)
        facts.paid = await storage.find_paid(connection, {r.payment_id for r in requests})
        wallet_ids = {paid.wallet_id for paid in facts.paid.values()}
        facts.wallets = await lock_wallets(connection, wallet_ids)
        # After the lock: whoever has just refunded the same payment held it until the commit.
        facts.by_name = await storage.find_refunds(connection, requests)
        facts.legs = await storage.find_legs(connection, list(facts.paid))
        for wallet in facts.wallets.values():
            facts.purses.update((purse.account_id, purse) for purse in wallet.purses)
        await _gather_homes(connection, facts)
        versions = await storage.find_programmes(
            connection, {purse.programme_id for purse in facts.purses.values()}, facts.legs
        )
        known = await self._shelf.take(connection, versions)
        facts.programmes = {one: known[one] for one in versions}
        facts.bonuses = await gather_bonuses(connection, list(facts.paid))
        facts.added_ids.update(paid.payable_account_id for paid in facts.paid.values())
        facts.account_ids.update(facts.purses)
        facts.account_ids |= facts.bonuses.account_ids
        facts.account_ids |= _budgets(facts)
        return facts

    def decide(
        self, request: RefundRequest, facts: RefundFacts, batch: Batch
    ) -> Refunded | RefundRefused:
        """Give back what was asked for, or say why not."""
        repeat = _find_repeat(request, facts)
        if repeat is not None:
            return repeat
        paid = facts.paid.get(request.payment_id)
        if paid is None or paid.merchant_id != request.merchant_id:
            return RefundRefused(Refusal("payment_unknown"))
        shares = _check(request, paid, facts, batch)
        if isinstance(shares, Refusal):
            return RefundRefused(shares)
        refund = _book(request, paid, shares, facts, batch)
        facts.by_name[refund.merchant_id, refund.merchant_refund_id] = refund
        facts.new_refunds.append(refund)
        return Refunded(refund, replayed=False)

    async def record(
        self, connection: Connection, facts: RefundFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the refunds, with the purses they opened and what they took from bonuses."""
        del answers
        await insert_purses(connection, facts.new_purses)
        await facts.bonuses.record(connection)
        if facts.new_refunds:
            await storage.insert_refunds(
                connection, facts.new_refunds, now=to_datetime(batch.now_us)
            )


GIVE_BACK: Final = GiveBack()
"""The kind of work that refunds payments; one in a process, with one shelf of programmes."""


async def refund_payment(teller: Teller, request: RefundRequest) -> Refunded | RefundRefused:
    """Submit one refund and return the answer once it is durably settled."""
    answer: Refunded | RefundRefused = await teller.submit(GIVE_BACK, request)
    return answer


def _find_repeat(request: RefundRequest, facts: RefundFacts) -> Refunded | RefundRefused | None:
    """Answer what the merchant has asked for by the same name before."""
    found = facts.by_name.get((request.merchant_id, request.merchant_refund_id))
    if found is None:
        return None
    if found.payment_id != request.payment_id or _is_another_amount(request, found, facts):
        return RefundRefused(Refusal("idempotency_conflict", {"refund_id": found.id}))
    return Refunded(found, replayed=True)


def _is_another_amount(request: RefundRequest, found: Refund, facts: RefundFacts) -> bool:
    """Whether a repeat asks for another amount; after all that is left, nothing is left."""
    if request.amount_yen is None:
        return any(leg.left_yen for leg in facts.legs.get(found.payment_id, ()))
    return request.amount_yen != found.amount_yen


def _check(
    request: RefundRequest, paid: Paid, facts: RefundFacts, batch: Batch
) -> list[Share] | Refusal:
    """Return what each part of the payment gives back, or why none does."""
    if not paid.is_succeeded:
        return Refusal("payment_not_refundable")
    legs = facts.legs.get(paid.id, [])
    stops = batch.stops
    for code in {_programme_of(leg, facts).code for leg in legs} if stops else ():
        if matches(stops, programme=code, merchant_id=paid.merchant_id):
            return Refusal("service_stopped")
    amount_yen = check_amount(request.amount_yen, legs, instrument=paid.instrument)
    if isinstance(amount_yen, Refusal):
        return amount_yen
    shares = release(legs, amount_yen=amount_yen)
    for share in shares:
        purse = facts.home_of(share.leg)
        if purse is not None and is_over(purse, day=facts.day):
            refunds = facts.programmes[purse.programme_id].terms.refunds
            if refunds.to_expired == "refuse":
                return Refusal("refund_purse_expired", {"expired_on": purse.expires_on})
    return shares


async def _gather_homes(connection: Connection, facts: RefundFacts) -> None:
    """Find where the money of purses that are over was moved to, if it was."""
    over = [
        leg
        for legs in facts.legs.values()
        for leg in legs
        if leg.account_id in facts.purses and is_over(facts.purses[leg.account_id], day=facts.day)
    ]
    if over:
        for leg, account_id in (await storage.find_moves(connection, over)).items():
            if account_id in facts.purses:
                facts.homes[leg.account_id, leg.at_us] = facts.purses[account_id]


def _budgets(facts: RefundFacts) -> set[UUID]:
    """Return the budgets that something may come back to: for coupons, and of what is over."""
    budgets: set[UUID] = set()
    for leg in (leg for legs in facts.legs.values() for leg in legs):
        purse = facts.home_of(leg)
        if purse is None or is_over(purse, day=facts.day):
            budgets.add(_programme_of(leg, facts).budget_account_id)
    return budgets


def _programme_of(leg: Leg, facts: RefundFacts) -> Programme:
    """Return whose money a part of a payment was."""
    purse = facts.purses.get(leg.account_id)
    if purse is not None:
        return facts.programmes[purse.programme_id]
    programme = facts.budget_of(leg.account_id)
    if programme is None:
        message = f"transfer {leg.number} of a payment came from account {leg.account_id}"
        raise RuntimeError(message)
    return programme


def _book(
    request: RefundRequest,
    paid: Paid,
    shares: Sequence[Share],
    facts: RefundFacts,
    batch: Batch,
) -> Refund:
    """Move the money as one chain, and then take bonuses back, out of it if need be."""
    parts: list[RefundPart] = []
    transfers: list[Transfer] = []
    for share in shares:
        part, account_id = _place(request, paid, share, facts, batch)
        parts.append(part)
        transfers.append(
            Transfer(
                numbered_id(request.refund_id, share.leg.number),
                paid.payable_account_id,
                account_id,
                share.amount_yen,
                LEDGER_JPY,
                TRANSFER_COUPON if share.leg.is_coupon else TRANSFER_REFUND,
                LINKED if len(parts) < len(shares) else 0,
                user_data_128=request.refund_id,
                user_data_32=_programme_of(share.leg, facts).number,
            )
        )
    _create(transfers, batch)
    _note(paid.id, shares, facts)
    taken_yen, missing_yen = take_back(
        facts.bonuses,
        paid,
        refund_id=request.refund_id,
        left_yen=sum(leg.left_yen for leg in facts.legs[paid.id]),
        purses=facts.wallets[paid.wallet_id].purses,
        day=facts.day,
        batch=batch,
    )
    facts.bonuses.give_coupon_back(
        paid, sum(share.amount_yen for share in shares if share.leg.is_coupon), facts.legs[paid.id]
    )
    return Refund(
        request.refund_id,
        paid.id,
        paid.merchant_id,
        request.merchant_refund_id,
        sum(share.amount_yen for share in shares),
        request.reason,
        taken_yen,
        missing_yen,
        to_datetime(batch.now_us),
        tuple(parts),
    )


def _note(payment_id: UUID, shares: Sequence[Share], facts: RefundFacts) -> None:
    """Let later refunds of the batch see what has come back."""
    given: Mapping[int, int] = {share.leg.number: share.amount_yen for share in shares}
    facts.legs[payment_id] = [
        replace(leg, refunded_yen=leg.refunded_yen + given.get(leg.number, 0))
        for leg in facts.legs[payment_id]
    ]


def _place(
    request: RefundRequest, paid: Paid, share: Share, facts: RefundFacts, batch: Batch
) -> tuple[RefundPart, UUID]:
    """Return where a share goes: back to its purse or coupon, or where its programme says."""
    leg = share.leg
    programme = _programme_of(leg, facts)
    purse = facts.home_of(leg)
    if purse is None:
        part = RefundPart(programme.code, None, share.amount_yen, Target.BUDGET)
        return part, programme.budget_account_id
    if is_over(purse, day=facts.day):
        expires_on = later_day(programme.terms.refunds, day=facts.day)
        if expires_on is None:
            part = RefundPart(programme.code, purse.funding, share.amount_yen, Target.BUDGET)
            return part, programme.budget_account_id
        purse = _open(request, paid, purse, expires_on, leg, facts, batch)
    part = RefundPart(programme.code, purse.funding, share.amount_yen, Target.PURSE)
    return part, purse.account_id


def _open(
    request: RefundRequest,
    paid: Paid,
    purse: Purse,
    expires_on: date,
    leg: Leg,
    facts: RefundFacts,
    batch: Batch,
) -> Purse:
    """Return the holder's purse of the same money and a later day, a new one if there is none."""
    purses = facts.wallets[paid.wallet_id].purses
    programme = facts.programmes[purse.programme_id]
    found = find_purse(
        purses, programme_id=programme.id, funding=purse.funding, expires_on=expires_on
    )
    if found is not None:
        return found
    opened = Purse(
        numbered_id(request.refund_id, leg.number), programme.id, purse.funding, expires_on
    )
    account = purse_account(
        opened.account_id, wallet_id=paid.wallet_id, programme_number=programme.number
    )
    (result,) = batch.book.create_accounts([account])
    if result.code is not AccountCode.CREATED:
        message = f"the ledger refused a purse for a refund: {result.code}"
        raise RuntimeError(message)
    purses.append(opened)
    facts.purses[opened.account_id] = opened
    facts.new_purses.append((paid.wallet_id, opened))
    return opened


def _create(transfers: Sequence[Transfer], batch: Batch) -> None:
    results = batch.book.create_transfers(transfers)
    if any(result.code is not TransferCode.CREATED for result in results):
        message = f"the ledger refused a refund that fits: {[str(r.code) for r in results]}"
        raise RuntimeError(message)
