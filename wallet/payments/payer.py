"""Who pays: what an instrument leads to, what keeps it from being used, what it shows."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from wallet.auth.authenticate import Caller
from wallet.auth.rules import INCLUDED, Acr, Requirement, StepUp, reached, satisfies
from wallet.core.clock import to_datetime, to_microseconds
from wallet.ops.rules import ScopeKind, matches
from wallet.payments.by_phone import phone_of
from wallet.payments.facts import PayFacts
from wallet.payments.rules import APP, CARD, Holder, PayRequest
from wallet.payments.step_up import Asked
from wallet.payments.storage import CodeFacts, PhoneFacts


class Approval(msgspec.Struct, frozen=True, gc=False):
    """Who approves a payment by phone, and the challenge that they have passed for it, if any."""

    caller: Caller
    step_up: StepUp | None


class Payer(msgspec.Struct, frozen=True, gc=False):
    """Who pays: the wallet first, then what draws on it; nobody when nothing was found.

    ``refused`` is the code of what keeps the payment from being made.
    """

    holders: Sequence[Holder]
    refused: str | None
    code: CodeFacts | None = None
    phone: PhoneFacts | None = None
    card_number: str | None = None

    @property
    def proxy(self) -> Holder | None:
        """The proxy who pays for somebody else, if one does."""
        return self.holders[1] if len(self.holders) > 1 and self.card_number is None else None

    def cooling_until(self, approval: Approval | None) -> Sequence[datetime | None]:
        """Until when the wallet's person, the phone, and the one that approves cool off."""
        phone_until = None if self.phone is None else self.phone.cooling_until
        until_us = None if approval is None else approval.caller.cooling_until_us
        approved_until = None if until_us is None else to_datetime(until_us)
        return self.holders[0].cooling_until, phone_until, approved_until

    def is_stopped(self, stops: frozenset[str], approval: Approval | None) -> bool:
        """Whether a stop holds up payments by such a person, such an app, or such a card."""
        app_version = None if approval is None else approval.caller.app_version
        return bool(self.holders) and matches(
            stops,
            ScopeKind.PAY,
            tier=self.holders[0].tier,
            app_version=app_version if self.phone is None else self.phone.app_version,
            card_number=self.card_number,
        )

    def asked(self) -> Asked | None:
        """Return who is to approve a payment that needs more than its instrument.

        That is whoever holds the phone; for a card, the wallet's person on any phone of theirs.
        """
        if self.phone is not None:
            return Asked(self.phone.principal_id, self.phone.device_id)
        person_id = self.holders[0].person_id if self.holders else None
        return None if person_id is None else Asked(person_id, None)

    def levels(self, approval: Approval | None, *, now: datetime, max_age_s: int) -> frozenset[Acr]:
        """Return the levels that the instrument itself brings, shown within ``max_age_s``."""
        if self.code is not None:
            if self.code.acr is None or self.code.authenticated_at is None:
                return INCLUDED[Acr.DEV]
            age_s = (now - self.code.authenticated_at).total_seconds()
            return INCLUDED[Acr(self.code.acr) if age_s <= max_age_s else Acr.DEV]
        if approval is None or self.card_number is not None:
            return INCLUDED[Acr.DEV]
        now_us = to_microseconds(now)
        return reached(approval.caller.classes, now_us=now_us, max_age_s=max_age_s)


def whom_to_ask(request: PayRequest, asked: Requirement, facts: PayFacts) -> Asked | None:
    """Return who may have to approve a request, as far as that is seen before it is decided.

    None where its instrument shows enough, or leads to nobody.
    """
    if request.instrument == APP:
        return facts.desk.askers.get(request.payment_id)
    payer = find_payer(request, None, facts)
    levels = payer.levels(None, now=facts.now, max_age_s=asked.max_age_s)
    return None if satisfies(levels, asked.require) else payer.asked()


def find_payer(request: PayRequest, approval: Approval | None, facts: PayFacts) -> Payer:
    """Return who pays; what is wrong with the instrument comes before what is with the wallet."""
    if request.instrument == CARD:
        return _of_card(request, facts)
    if request.instrument == APP:
        return _of_app(request, approval, facts)
    return _of_code(request, facts)


def _of_card(request: PayRequest, facts: PayFacts) -> Payer:
    card = facts.cards.get(request.instrument_hash)
    if card is None:
        return Payer((), "card_unknown")
    wallet = facts.wallets[card.wallet_id]
    refused = "card_blocked" if card.holder.state != "active" else _refuse_wallet(wallet, None)
    return Payer((wallet, card.holder), refused, card_number=card.number)


def _of_code(request: PayRequest, facts: PayFacts) -> Payer:
    shown = request.instrument_hash
    code = facts.codes.get(shown)
    pending = facts.pending.get(request.payment_id)
    if code is None and pending is not None:  # What it led to was seen when it was shown.
        wallet = facts.wallets[pending.wallet_id]
        return Payer((wallet,), _refuse_wallet(wallet, None))
    if code is None:
        return Payer((), "code_unknown")
    wallet, proxy, phone = facts.wallets[code.wallet_id], code.proxy, code.phone
    holders = (wallet,) if proxy is None else (wallet, proxy)
    waited = pending is not None
    if (code.burnt_by is not None and not waited) or shown in facts.newly_burnt:
        refused: str | None = "code_used"
    elif (code.expires_at <= facts.now and not waited) or (phone and not phone.is_enrolled):
        refused = "code_expired"
    elif proxy is not None and proxy.state != "active":
        refused = "payment_not_allowed"
    else:
        refused = _refuse_wallet(wallet, phone)
    return Payer(holders, refused, code, phone)


def _of_app(request: PayRequest, approval: Approval | None, facts: PayFacts) -> Payer:
    reach = facts.desk.reach.get(request.payment_id)
    if reach is None or approval is None:
        return Payer((), "wallet_unknown")
    wallet, phone = facts.wallets[reach.wallet_id], phone_of(approval.caller, reach)
    holders = (wallet,) if reach.proxy is None else (wallet, reach.proxy)
    if reach.usable_from is not None and reach.usable_from > facts.now:
        refused: str | None = "payment_not_allowed"
    else:
        refused = _refuse_wallet(wallet, phone)
    return Payer(holders, refused, phone=phone)


def _refuse_wallet(wallet: Holder, phone: PhoneFacts | None) -> str | None:
    """Refuse when the wallet or its person is frozen, or whoever holds the phone is."""
    is_owner_frozen = phone is not None and phone.is_owner_active is False
    return "wallet_frozen" if wallet.state != "active" or is_owner_frozen else None
