"""What a batch of payments knows, and what its decisions add for later ones and for the record."""

from collections.abc import Collection
from datetime import date, datetime
from uuid import UUID

from msgspec.structs import replace

from wallet.auth.authenticate import Caller
from wallet.auth.recognise import weigh_signature
from wallet.auth.rules import StepUp
from wallet.auth.step_up_storage import Challenge
from wallet.core.clock import japanese_day, to_datetime
from wallet.core.refusals import Refusal
from wallet.ledger.work import Facts
from wallet.payments.by_phone import NO_DESK, AnswerChallenge, Desk
from wallet.payments.caps import DayKey
from wallet.payments.extras import Extras
from wallet.payments.rules import Holder, Payment, PayRequest
from wallet.payments.step_up import Answerers
from wallet.payments.storage import CardFacts, CodeFacts, TerminalFacts
from wallet.payments.waiting import Pending
from wallet.programmes.rules import Programme, Purse


class PayFacts(Facts):
    """What a batch of payments needs to know, by its keys."""

    __slots__ = (
        "answered",
        "answerers",
        "by_key",
        "by_merchant_id",
        "cards",
        "codes",
        "day",
        "day_drawn",
        "decided_ids",
        "desk",
        "extras",
        "further_keys",
        "new_challenges",
        "new_keys",
        "new_payments",
        "newly_burnt",
        "newly_spent",
        "newly_waiting",
        "now",
        "now_us",
        "pending",
        "programmes",
        "purses",
        "settled",
        "spent_yen",
        "step_ups",
        "terminals",
        "wallets",
    )

    now: datetime
    day: date
    day_drawn: dict[DayKey, int]
    by_key: dict[tuple[UUID, str], Payment]
    by_merchant_id: dict[tuple[UUID, str], Payment]
    terminals: dict[UUID, TerminalFacts]
    codes: dict[bytes, CodeFacts]
    cards: dict[bytes, CardFacts]
    wallets: dict[UUID, Holder]
    purses: dict[UUID, list[Purse]]
    spent_yen: dict[UUID, int]
    programmes: dict[UUID, Programme]

    def __init__(self, *, now_us: int) -> None:
        super().__init__()
        self.now_us = now_us
        self.now, self.day = to_datetime(now_us), japanese_day(now_us)
        self.by_key, self.by_merchant_id, self.terminals = {}, {}, {}
        self.codes, self.cards, self.day_drawn = {}, {}, {}
        # Of phones that ask, of challenges, and of payments that wait; most batches have none.
        self.desk: Desk = NO_DESK
        self.answerers = Answerers()
        # Bonuses and coupons; None where none of the wallets can have any.
        self.extras: Extras | None = None
        self.step_ups: dict[UUID, StepUp] = {}
        self.pending: dict[UUID, Pending] = {}
        # What the decisions of this batch add; later ones see it, and it is written at the end.
        self.new_payments: list[Payment] = []
        self.new_keys: list[str | None] = []
        self.further_keys: list[tuple[UUID, str, UUID]] = []
        self.newly_burnt: set[bytes] = set()
        self.newly_spent: dict[UUID, int] = {}
        self.newly_waiting: list[tuple[Payment, str, Challenge]] = []
        self.new_challenges: list[Challenge] = []
        self.settled: dict[UUID, Payment] = {}
        self.decided_ids: list[UUID] = []
        self.answered: dict[UUID, Collection[str]] = {}

    def present(self, payment: Payment) -> Payment:
        """Return a payment as it is by now; one that has waited too long is declined here."""
        if payment.waiting is None:
            return payment
        pending = self.pending.get(payment.id)
        if pending is not None and payment.id not in self.settled and self.is_late(pending):
            return self.decline(pending, "confirmation_expired")
        return self.settled.get(payment.id, payment)

    def is_late(self, pending: Pending) -> bool:
        """Whether a payment can no longer be approved."""
        return pending.is_overtaken or pending.expires_at <= self.now

    def decline(self, pending: Pending, code: str) -> Payment:
        """Decide that a payment which waits does not come about.

        One that another of its name has overtaken leaves no payment: the name is the other's.
        """
        payment = pending.declined(code)
        self.settled[payment.id] = payment
        self.decided_ids.append(payment.id)
        if not pending.is_overtaken:
            self.new_payments.append(payment)
            self.new_keys.append(None)
        return payment

    def remember(self, request: PayRequest, payment: Payment) -> None:
        """Let the rest of the batch see a payment, and have it written with the batch."""
        pending = self.pending.get(payment.id)
        if pending is not None:
            self.settled[payment.id] = payment
            self.decided_ids.append(payment.id)
        else:
            self.by_key[request.owner_id, request.idempotency_key] = payment
            self.by_merchant_id[payment.merchant_id, payment.merchant_payment_id] = payment
        if request.instrument_hash in self.codes:
            self.newly_burnt.add(request.instrument_hash)
        if payment.waiting is not None:
            return
        self.new_payments.append(payment)
        self.new_keys.append(None if pending is not None else request.idempotency_key)

    def use(self, step_up: StepUp, *, by: PayRequest) -> None:
        """Use a challenge up for a payment; nothing else can be paid with it from here on."""
        self.step_ups[step_up.id] = replace(step_up, consumed_by=by.payment_id)
        self.answered.setdefault(step_up.id, ())

    def spend(self, holder: Holder, amount_yen: int) -> None:
        """Count a payment towards a holder's day."""
        self.spent_yen[holder.id] += amount_yen
        self.newly_spent[holder.id] = self.spent_yen[holder.id]

    def answer(self, request: AnswerChallenge, caller: Caller) -> Refusal | None:
        """Return why an answer does not pass its challenge; it is passed now or was before."""
        step_up = self.step_ups[request.challenge_id]
        if step_up.passed_at is not None:
            return None
        if request.signature is None:
            return Refusal("step_up_not_passed")
        outcome = weigh_signature(
            step_up,
            caller=caller,
            verified_key=self.desk.phones.verified_key_of(caller),
            signature=request.signature,
            number=request.number,
            now_us=self.now_us,
        )
        if isinstance(outcome, Refusal):
            if outcome.code == "step_up_failed":
                self.step_ups[step_up.id] = replace(step_up, failures=step_up.failures + 1)
                self.answered[step_up.id] = ()
            return outcome
        self.step_ups[step_up.id] = replace(step_up, passed_at=self.now, passed_acr=outcome.acr)
        self.answered[step_up.id] = outcome.classes
        return None
