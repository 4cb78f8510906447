"""Bonuses as a batch decides on them: how much under every cap, and the transfers that give it.

A bonus goes from the budget of its programme to a purse of free money. One that vests later is set
aside in the programme's reserve meanwhile, so that its budget cannot be spent twice.
"""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import msgspec

from wallet.core.ids import numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.ledger.chart import ACCOUNT_BONUS_RESERVE, TRANSFER_BONUS, TRANSFER_BONUS_RESERVED
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    LINKED,
    Account,
    AccountCode,
    Transfer,
)
from wallet.ledger.work import Batch
from wallet.payments.extras import Extras, Offer, left_in_budget, may_give, reserve_of
from wallet.payments.extras_storage import Grant
from wallet.payments.rules import BONUS_NUMBER, Earned
from wallet.programmes.bonus import choose, yen_of
from wallet.programmes.purses import find_purse, purse_account
from wallet.programmes.rules import Draw, Funding, Purse, Shop


class Gift(msgspec.Struct, frozen=True, gc=False):
    """A bonus that is decided on."""

    offer: Offer
    amount_yen: int

    @property
    def earned(self) -> Earned:
        """What its holder is told."""
        return Earned(self.offer.programme.code, self.amount_yen, self.offer.usable_on)


def gifts_for(
    extras: Extras,
    draws: Sequence[Draw],
    *,
    holder_id: UUID,
    shop: Shop,
    batch: Batch,
    taken_yen: Mapping[UUID, int],
) -> Sequence[Gift]:
    """Return the bonuses that a payment brings, for what it draws from each programme.

    ``taken_yen`` is what it takes from budgets besides, by account.
    """
    bases: list[tuple[Offer, int]] = []
    for programme_id in dict.fromkeys([one.purse.programme_id for one in draws]):
        for offer in extras.offers.get(programme_id, ()):
            fundings = offer.bonus.fundings
            base_yen = sum(
                [
                    one.amount_yen
                    for one in draws
                    if one.purse.programme_id == programme_id
                    and (not fundings or one.purse.funding in fundings)
                ]
            )
            bases.append((offer, base_yen))
    if not bases:
        return ()
    by_key = {offer.key: base_yen for offer, base_yen in bases}

    def yen_for(offer: Offer) -> int:
        return yen_of(offer.bonus, base_yen=by_key[offer.key], shop=shop)

    offers = [offer for offer, base_yen in bases if base_yen]
    return find_gifts(
        extras, offers, yen_for, holder_id=holder_id, batch=batch, taken_yen=taken_yen
    )


def find_gifts(
    extras: Extras,
    offers: Sequence[Offer],
    yen_for: Callable[[Offer], int],
    *,
    holder_id: UUID,
    batch: Batch,
    taken_yen: Mapping[UUID, int],
) -> list[Gift]:
    """Return the bonuses that somebody gets of those on offer, under every cap.

    ``yen_for`` says how much one would be without the caps of a person and the budget.
    """
    taken = dict(taken_yen)

    def yen_left(offer: Offer) -> int:
        programme = offer.programme
        if not may_give(programme, batch):
            return 0
        yen = yen_for(offer)
        for period, cap_yen in offer.caps:
            yen = min(yen, cap_yen - extras.totals.get((holder_id, offer.key, period)).amount_yen)
        budget = programme.budget_account_id
        yen = max(0, min(yen, left_in_budget(programme, batch) - taken.get(budget, 0)))
        taken[budget] = taken.get(budget, 0) + yen
        return yen

    return [Gift(offer, yen) for offer, yen in choose(offers, yen_left)]


def open_and_fill(
    extras: Extras,
    gifts: Sequence[Gift],
    purses: list[Purse],
    *,
    source_id: UUID,
    wallet_id: UUID,
    batch: Batch,
) -> list[Transfer]:
    """Open the accounts that the gifts need and return the linked transfers that give them.

    ``source_id`` is the aligned id of the payment or of the event. ``purses`` are the wallet's;
    new ones are added to them.
    """
    transfers = []
    for number, gift in enumerate(gifts, BONUS_NUMBER):
        transfer_id, offer = numbered_id(source_id, number), gift.offer
        if offer.vests_later:
            account_id, code = _open_reserve(offer, batch), TRANSFER_BONUS_RESERVED
        else:
            account_id = open_purse(extras, offer, purses, transfer_id, wallet_id, batch)
            code = TRANSFER_BONUS
        transfers.append(
            Transfer(
                transfer_id,
                offer.programme.budget_account_id,
                account_id,
                gift.amount_yen,
                LEDGER_JPY,
                code,
                LINKED,
                user_data_128=wallet_id,
                user_data_32=offer.programme.number,
            )
        )
    return transfers


def open_purse(
    extras: Extras,
    offer: Offer,
    purses: list[Purse],
    transfer_id: UUID,
    wallet_id: UUID,
    batch: Batch,
) -> UUID:
    """Return the purse that a bonus goes to; a missing one is opened under its transfer's id."""
    programme = offer.programme
    purse = find_purse(
        purses, programme_id=programme.id, funding=Funding.FREE, expires_on=offer.expires_on
    )
    if purse is None:
        purse = Purse(transfer_id, programme.id, Funding.FREE, offer.expires_on)
        _open(
            purse_account(transfer_id, wallet_id=wallet_id, programme_number=programme.number),
            batch,
        )
        purses.append(purse)
        extras.new_purses.append((wallet_id, purse))
    return purse.account_id


def _open_reserve(offer: Offer, batch: Batch) -> UUID:
    account_id = reserve_of(offer.programme)
    if account_id not in batch.book.balances:
        account = Account(
            account_id,
            LEDGER_JPY,
            ACCOUNT_BONUS_RESERVE,
            ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
            user_data_128=offer.programme.id,
            user_data_32=offer.programme.number,
        )
        _open(account, batch)
    return account_id


def _open(account: Account, batch: Batch) -> None:
    (result,) = batch.book.create_accounts([account])
    if result.code is not AccountCode.CREATED:
        message = f"the ledger refused an account for a bonus: {result.code}"
        raise RuntimeError(message)


def note_gifts(
    extras: Extras,
    gifts: Sequence[Gift],
    transfers: Sequence[Transfer],
    *,
    payment_id: UUID | None,
    holder_id: UUID,
) -> None:
    """Have gifts that are booked written down, and count them against their holder's caps."""
    for gift, transfer in zip(gifts, transfers, strict=True):
        offer = gift.offer
        state = "pending" if offer.vests_later else "granted"
        extras.new_grants.append(
            Grant(
                transfer.id,
                payment_id,
                transfer.user_data_128,
                holder_id,
                gift.amount_yen,
                (offer.programme.id, offer.key, state, offer.usable_on),
            )
        )
        for period, _ in offer.caps:
            extras.totals.add((holder_id, offer.key, period), gift.amount_yen)
