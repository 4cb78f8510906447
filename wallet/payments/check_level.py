"""Whether a payer has shown enough for a payment; if not, they are asked for it."""

from datetime import timedelta
from typing import Any

import msgspec

from wallet.auth.rules import Requirement, StepUp, check_step_up, op_hash, satisfies
from wallet.core.refusals import Refusal
from wallet.payments.facts import PayFacts
from wallet.payments.payer import Approval, Payer
from wallet.payments.results import Answer, Challenged, Paid, Refused
from wallet.payments.rules import (
    WAITS_S,
    Discount,
    Earned,
    Part,
    Payment,
    PayRequest,
    Waiting,
)
from wallet.payments.step_up import challenge_for, operation_of
from wallet.payments.storage import TerminalFacts


class Case(msgspec.Struct, frozen=True, gc=False):
    """A payment under decision. ``asked`` is what it takes beyond its instrument, None nothing."""

    request: PayRequest
    approval: Approval | None
    terminal: TerminalFacts
    payer: Payer
    asked: Requirement | None

    def payment(
        self,
        facts: PayFacts,
        *,
        refusal: Refusal | None = None,
        parts: tuple[Part, ...] = (),
        waiting: Waiting | None = None,
        earned: tuple[Earned, ...] = (),
        discount: Discount | None = None,
    ) -> Payment:
        """Return the payment as it was decided, or as it waits."""
        request, holders = self.request, self.payer.holders
        pending = facts.pending.get(request.payment_id)
        proxy = self.payer.proxy
        return Payment(
            request.payment_id,
            request.merchant_id,
            request.merchant_payment_id,
            self.terminal.shop.id,
            request.terminal_id,
            request.amount_yen,
            request.instrument,
            request.instrument_hash,
            request.description,
            refusal,
            holders[0].id if holders else None,
            facts.now if pending is None else pending.created_at,
            parts,
            request.asked_by,
            None if proxy is None else proxy.id,
            waiting,
            earned,
            discount,
        )


def check_level(case: Case, facts: PayFacts) -> Answer | Refusal | None:
    """Return None when the payer has shown enough, else what to answer.

    A refusal is to be recorded. A challenge that was passed for the payment is used up; whoever
    has passed none and needs one is asked to.
    """
    if case.approval is not None and case.approval.step_up is not None:
        return _use(case, case.approval, case.approval.step_up, facts)
    if case.asked is None:
        return None
    levels = case.payer.levels(case.approval, now=facts.now, max_age_s=case.asked.max_age_s)
    return None if satisfies(levels, case.asked.require) else _ask(case, case.asked, facts)


def _use(case: Case, approval: Approval, step_up: StepUp, facts: PayFacts) -> Refused | None:
    """Use the challenge up for just this payment; what is asked for is what is asked for now."""
    operation = operation_of(
        case.request,
        wallet_id=case.payer.holders[0].id,
        shop_id=case.terminal.shop.id,
        expires_at=step_up.expires_at,
    )
    asked = case.asked or Requirement(require=step_up.required, max_age_s=step_up.max_age_s)
    refusal = check_step_up(
        step_up,
        principal_id=approval.caller.principal_id,
        op_hash=op_hash(operation),
        requirement=asked,
        now=facts.now,
    )
    if refusal is not None:
        return Refused(Refusal(refusal.code, _what_would_do(asked)))
    facts.use(step_up, by=case.request)
    return None


def _what_would_do(asked: Requirement) -> dict[str, Any]:
    """Return the levels, any of which lets the payment through, for whoever is refused."""
    return {"acr_values": list(asked.require), "max_age_s": asked.max_age_s}


def _ask(case: Case, asked: Requirement, facts: PayFacts) -> Answer | Refusal:
    """Ask whoever holds the phone; a shop's payment waits for them meanwhile."""
    by_shop = case.request.asked_by is None
    whom = case.payer.asked()
    if whom is None:
        return Refusal("confirmation_unavailable", {"acr_values": list(asked.require)})
    refusal = facts.answerers.ask(whom, asked, push=by_shop)
    if refusal is not None:
        return refusal if by_shop and refusal.code != "push_too_often" else Refused(refusal)
    shop_id = case.terminal.shop.id
    challenge = challenge_for(
        case.request,
        whom,
        asked,
        wallet_id=case.payer.holders[0].id,
        shop=(shop_id, facts.answerers.shop_name(shop_id)),
        now_us=facts.now_us,
    )
    if not by_shop:
        facts.new_challenges.append(challenge)
        return Challenged(challenge)
    waiting = Waiting(facts.now + timedelta(seconds=WAITS_S), challenge.number_match)
    payment = case.payment(facts, waiting=waiting)
    facts.remember(case.request, payment)
    facts.newly_waiting.append((payment, case.request.idempotency_key, challenge))
    return Paid(payment, replayed=False)
