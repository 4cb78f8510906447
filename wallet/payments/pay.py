"""Pay: a request becomes a chain of transfers, or a refusal that is kept, or waits for its payer.

The order of decisions is fixed: repeats first (a retry of a success must never fail), then
stops, the terminal, the instrument, the wallet, its limits, the money, and what its payer must show
last, so that nobody is asked to approve what could not be paid.

Three kinds of requests are decided in that one order: a merchant's, a person's by phone, and a
phone's answer to a challenge. An answer settles the very request that waits for it, against all
that may have changed meanwhile, and uses its challenge up in the same transaction.
"""

from collections.abc import Collection, Sequence
from itertools import chain
from uuid import UUID

from msgspec.structs import replace

from wallet.auth.authenticate import Caller
from wallet.auth.pass_challenge import FAILURES_MAX
from wallet.auth.rules import Band, Requirement, StepUp
from wallet.core.database import Connection
from wallet.core.ids import numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_PAYMENT
from wallet.ledger.rules import LINKED, Transfer, TransferCode
from wallet.ledger.work import Batch
from wallet.ops.rules import ScopeKind, matches
from wallet.payments import storage, waiting
from wallet.payments.by_phone import AnswerChallenge, PayByPhone, open_desk
from wallet.payments.caps import caps_left, count_draws, gather_days
from wallet.payments.check_level import Case, check_level
from wallet.payments.discount import find_discount, note_use, pay_discount
from wallet.payments.extras import Extras, gather_extras
from wallet.payments.facts import PayFacts
from wallet.payments.gifts import gifts_for, note_gifts, open_and_fill
from wallet.payments.payer import Approval, find_payer, whom_to_ask
from wallet.payments.record import record
from wallet.payments.results import Answer, Approved, Challenged, Paid, Refused
from wallet.payments.rules import (
    APP,
    Discount,
    Earned,
    PayRequest,
    check_cooling_off,
    check_limits,
    differences,
    parts_of,
    plan,
    weigh_risk,
)
from wallet.payments.step_up import Asked, Ladder, find_answerers, refuse_outright
from wallet.people.tiers import tiers
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Draw

__all__ = ["Answer", "Approved", "Challenged", "Paid", "Pay", "Refused", "Request"]

Request = PayRequest | PayByPhone | AnswerChallenge


class Pay:
    """The kind of work that pays shops; ``bands_open`` as for :class:`Ladder`."""

    def __init__(self, *, bands_open: Collection[Band] = ()) -> None:
        self._shelf = ProgrammeShelf()
        self._ladder = Ladder(bands_open)
        self._cooling_yen = tiers().cooling_off.payment_yen

    async def gather(
        self, connection: Connection, requests: Sequence[Request], now_us: int
    ) -> PayFacts:
        """Read everything for all requests in a few queries, locking codes and holders."""
        facts = PayFacts(now_us=now_us)
        asked = [one for one in requests if isinstance(one, PayRequest)]
        if len(asked) < len(requests):
            answers = [one for one in requests if isinstance(one, AnswerChallenge)]
            by_phone = [one for one in requests if isinstance(one, PayByPhone)]
            facts.desk = await open_desk(connection, by_phone, answers, now=facts.now)
            facts.step_ups = dict(facts.desk.step_ups)
            asked += facts.desk.requests.values()
        if asked:
            facts.by_key, facts.by_merchant_id, facts.terminals = await storage.find_named(
                connection, asked
            )
        await _gather_pending(connection, facts)
        shown = [one.request for one in facts.pending.values() if one.needs_instrument]
        shown += [one for one in asked if one.instrument != APP]
        if shown:
            facts.codes, facts.cards = await storage.find_instruments(connection, shown)
        amounts_yen = [one.amount_yen for one in asked]
        amounts_yen += [one.request.amount_yen for one in facts.pending.values()]
        await self._gather_money(connection, facts, amounts_yen)
        await self._gather_answerers(connection, asked, facts)
        return facts

    async def _gather_money(
        self, connection: Connection, facts: PayFacts, amounts_yen: Sequence[int]
    ) -> None:
        wallet_ids = {code.wallet_id for code in facts.codes.values()}
        wallet_ids.update(card.wallet_id for card in facts.cards.values())
        holder_ids = {card.holder.id for card in facts.cards.values()}
        holder_ids.update(code.proxy.id for code in facts.codes.values() if code.proxy is not None)
        for reach in facts.desk.reach.values():
            wallet_ids.add(reach.wallet_id)
            if reach.proxy is not None:
                holder_ids.add(reach.proxy.id)
        wallet_ids.update(one.wallet_id for one in facts.pending.values())
        facts.spent_yen = await storage.lock_spending(
            connection, holder_ids | wallet_ids, day=facts.day
        )
        facts.wallets, facts.purses, versions = await storage.find_wallets(connection, wallet_ids)
        facts.programmes = await self._shelf.take(connection, versions)
        facts.day_drawn = await gather_days(
            connection, purses=facts.purses, programmes=facts.programmes, day=facts.day
        )
        facts.extras = await gather_extras(
            connection,
            self._shelf,
            now=facts.now,
            holders=facts.wallets.values(),
            purses=facts.purses,
            programmes=[facts.programmes[one] for one in versions],
            amounts_yen=amounts_yen,
        )
        if facts.extras is not None:
            facts.drawn = facts.extras.drawn
            giving = facts.extras.programmes.values()
            facts.programmes = {**facts.programmes, **{one.id: one for one in giving}}
        facts.added_ids.update(t.payable_account_id for t in facts.terminals.values())
        for purses in facts.purses.values():
            facts.account_ids.update(purse.account_id for purse in purses)

    async def _gather_answerers(
        self, connection: Connection, requests: Sequence[PayRequest], facts: PayFacts
    ) -> None:
        """Look up whom this batch may have to ask; where no amount calls for it, nobody."""
        asked: set[tuple[Asked, UUID]] = set()
        for request in requests:
            lacking = self._beyond_instrument(request)
            if lacking is not None:
                terminal = facts.terminals.get(request.terminal_id)
                whom = whom_to_ask(request, lacking, facts)
                if terminal is not None and whom is not None:
                    asked.add((whom, terminal.shop.id))
        if asked:
            facts.answerers = await find_answerers(connection, asked, now=facts.now)

    def _beyond_instrument(self, request: PayRequest) -> Requirement | None:
        """Return what is asked of a payment beyond its instrument, None for nothing."""
        return self._ladder.beyond_instrument(request.amount_yen, weigh_risk(request))

    def decide(self, request: Request, facts: PayFacts, batch: Batch) -> Answer:
        """Decide one request against the book; pure but for the book and the facts' counters."""
        if isinstance(request, PayRequest):
            return _find_repeat(request, facts) or self._settle(request, None, facts, batch)
        caller = facts.desk.caller_of(request.sender, now_us=facts.now_us)
        if isinstance(caller, Refusal):
            return Refused(caller)
        if isinstance(request, AnswerChallenge):
            return self._answer(request, caller, facts, batch)
        asked = _at_its_merchant(facts.desk.requests[request.payment_id], facts)
        repeat = _find_repeat(asked, facts)
        if repeat is not None:
            return repeat
        step_up = None if request.step_up_id is None else facts.step_ups.get(request.step_up_id)
        if request.step_up_id is not None and step_up is None:
            return Refused(Refusal("step_up_unknown"))
        return self._settle(asked, Approval(caller, step_up), facts, batch)

    def _answer(
        self, request: AnswerChallenge, caller: Caller, facts: PayFacts, batch: Batch
    ) -> Answer:
        """Take an answer to a challenge, and settle the payment that waits for it, if one does."""
        step_up = facts.step_ups.get(request.challenge_id)
        if step_up is None or not _may_answer(caller, step_up):
            return Refused(Refusal("step_up_unknown"))
        done = facts.settled.get(step_up.id)
        if done is not None:
            return Paid(done, replayed=True)
        pending = facts.pending.get(step_up.id)
        if pending is not None and facts.is_late(pending):
            return Paid(facts.decline(pending, "confirmation_expired"), replayed=False)
        refusal = facts.answer(request, caller)
        if refusal is not None:
            if pending is not None and facts.step_ups[step_up.id].failures >= FAILURES_MAX:
                facts.decline(pending, "confirmation_failed")
            return Refused(refusal)
        if pending is None:
            return Approved(step_up.id)
        approval = Approval(caller, facts.step_ups[step_up.id])
        return self._settle(pending.request, approval, facts, batch)

    def _settle(
        self, request: PayRequest, approval: Approval | None, facts: PayFacts, batch: Batch
    ) -> Answer:
        """Decide a request that was not decided before."""
        case = self._open(request, approval, facts, batch)
        if isinstance(case, Refused):
            return case
        discount = _find_discount(case, facts, batch)
        drawn = self._draw(case, discount, facts, batch)
        if isinstance(drawn, Refusal):
            return (
                Refused(drawn) if drawn.code == "service_stopped" else _decline(case, drawn, facts)
            )
        lacking = check_level(case, facts)
        if lacking is None:
            return _conclude(case, drawn, discount, facts, batch)
        return _decline(case, lacking, facts) if isinstance(lacking, Refusal) else lacking

    def _open(
        self, request: PayRequest, approval: Approval | None, facts: PayFacts, batch: Batch
    ) -> Case | Refused:
        """Find where the money is to go and who pays, or refuse without deciding."""
        terminal = facts.terminals.get(request.terminal_id)
        refusal = _refuse_at_once(request, terminal, batch.stops)
        if refusal is not None or terminal is None:
            return Refused(refusal or Refusal("terminal_unknown"))
        payer = find_payer(request, approval, facts)
        if payer.refused == "wallet_unknown":
            return Refused(Refusal(payer.refused))
        if batch.stops and payer.is_stopped(batch.stops, approval):
            return Refused(Refusal("service_stopped"))
        return Case(request, approval, terminal, payer, self._beyond_instrument(request))

    def _draw(
        self, case: Case, discount: Discount | None, facts: PayFacts, batch: Batch
    ) -> list[Draw] | Refusal:
        """Return what to draw from which purse, or why nothing is to be drawn.

        Limits and levels are for the whole amount, whatever a coupon takes off it.
        """
        payer, amount_yen = case.payer, case.request.amount_yen
        if payer.refused is not None:
            return Refusal(payer.refused)
        refusal = check_limits(payer.holders, facts.spent_yen, amount_yen=amount_yen)
        if refusal is None and amount_yen > self._cooling_yen:
            refusal = check_cooling_off(
                payer.cooling_until(case.approval), now=facts.now, limit_yen=self._cooling_yen
            )
        if refusal is None and case.asked is not None:
            refusal = refuse_outright(case.asked)
        if refusal is not None:
            return refusal
        available = batch.book.available
        purses = facts.purses[payer.holders[0].id]
        return plan(
            [(p, available(p.account_id)) for p in purses],
            facts.programmes,
            shop=case.terminal.shop,
            day=facts.day,
            amount_yen=amount_yen if discount is None else amount_yen - discount.amount_yen,
            stops=batch.stops,
            caps=caps_left(payer.holders[0].id, purses, facts.programmes, facts.day_drawn),
        )

    async def record(
        self,
        connection: Connection,
        facts: PayFacts,
        answers: Sequence[Answer],
        batch: Batch,
    ) -> None:
        """Write what the decisions have added to the facts."""
        del answers, batch
        await record(connection, facts)


async def _gather_pending(connection: Connection, facts: PayFacts) -> None:
    """Take the payments that wait and are to be settled: by an answer, or because it is late."""
    late_ids = {
        payment.id
        for payment in chain(facts.by_key.values(), facts.by_merchant_id.values())
        if payment.waiting is not None and payment.waiting.expires_at <= facts.now
    }
    pending = dict(facts.desk.pending)
    if late_ids:
        pending.update(await waiting.lock(connection, late_ids))
    if not pending:
        return
    decided = [one for one, row in pending.items() if row.is_decided]
    if decided:
        facts.settled = await storage.load_payments(connection, decided)
    facts.pending = {one: row for one, row in pending.items() if not row.is_decided}
    facts.terminals.update((one.terminal.id, one.terminal) for one in pending.values())


def _may_answer(caller: Caller, step_up: StepUp) -> bool:
    """Whether a challenge is the caller's, and this phone's if it is of one phone alone."""
    return step_up.principal_id == caller.principal_id and (
        step_up.device_id is None or step_up.device_id == caller.device_id
    )


def _at_its_merchant(request: PayRequest, facts: PayFacts) -> PayRequest:
    """Return a phone's request with the merchant whose terminal it names, if there is one."""
    terminal = facts.terminals.get(request.terminal_id)
    return request if terminal is None else replace(request, merchant_id=terminal.merchant_id)


def _find_repeat(request: PayRequest, facts: PayFacts) -> Paid | Refused | None:
    """Answer a request that was made before, by its key or by the merchant's own id."""
    key = (request.owner_id, request.idempotency_key)
    by_key = facts.by_key.get(key)
    found = by_key or facts.by_merchant_id.get((request.merchant_id, request.merchant_payment_id))
    if found is None:
        return None
    terminal = facts.terminals.get(request.terminal_id)
    different = differences(request, found, shop_id=None if terminal is None else terminal.shop.id)
    if different:
        return Refused(
            Refusal("idempotency_conflict", {"different": different, "payment_id": found.id})
        )
    if by_key is None:
        facts.by_key[key] = found
        facts.further_keys.append((*key, found.id))
    return Paid(facts.present(found), replayed=found.id != request.payment_id)


def _refuse_at_once(
    request: PayRequest, terminal: storage.TerminalFacts | None, stops: frozenset[str]
) -> Refusal | None:
    """Refuse what is not this payment's fault and may be different in a moment."""
    if stops and matches(stops, ScopeKind.PAY, merchant_id=request.merchant_id):
        return Refusal("service_stopped")
    if terminal is None or terminal.merchant_id != request.merchant_id or not terminal.active:
        return Refusal("terminal_unknown")
    if not terminal.merchant_active:
        return Refusal("merchant_suspended")
    return None


def _find_discount(case: Case, facts: PayFacts, batch: Batch) -> Discount | None:
    """Return what a coupon takes off the payment, None for nothing."""
    if facts.extras is None or case.payer.refused is not None:
        return None
    return find_discount(
        facts.extras,
        case.payer.holders[0],
        price_yen=case.request.amount_yen,
        shop=case.terminal.shop,
        batch=batch,
    )


def _decline(case: Case, refusal: Refusal, facts: PayFacts) -> Paid:
    payment = case.payment(facts, refusal=refusal)
    facts.remember(case.request, payment)
    return Paid(payment, replayed=False)


def _conclude(
    case: Case,
    draws: Sequence[Draw],
    discount: Discount | None,
    facts: PayFacts,
    batch: Batch,
) -> Paid:
    """Move the payment's money, and what comes with it."""
    programmes = facts.programmes
    parts = parts_of(draws, programmes)
    earned: tuple[Earned, ...] = ()
    if facts.extras is None:
        _book(case, draws, (), facts, batch)
    else:
        earned = _book_with_extras(case, draws, discount, facts.extras, facts, batch)
    payment = case.payment(facts, parts=parts, earned=earned, discount=discount)
    count_draws(facts.day_drawn, case.payer.holders[0].id, draws, programmes)
    for holder in case.payer.holders:
        facts.spend(holder, payment.amount_yen)
    facts.remember(case.request, payment)
    return Paid(payment, replayed=False)


def _book_with_extras(
    case: Case,
    draws: Sequence[Draw],
    discount: Discount | None,
    extras: Extras,
    facts: PayFacts,
    batch: Batch,
) -> tuple[Earned, ...]:
    """Book a payment with what its coupon takes off and the bonuses it brings, and return these."""
    payment_id, holder = case.request.payment_id, case.payer.holders[0]
    off: list[Transfer] = []
    taken_yen: dict[UUID, int] = {}
    if discount is not None:
        payable_id = case.terminal.payable_account_id
        off.append(
            pay_discount(extras, discount, holder, payment_id=payment_id, payable_id=payable_id)
        )
        taken_yen[off[0].debit_account_id] = discount.amount_yen
    gifts = gifts_for(
        extras,
        draws,
        holder_id=holder.owner_id,
        shop=case.terminal.shop,
        batch=batch,
        taken_yen=taken_yen,
    )
    given = open_and_fill(
        extras,
        gifts,
        facts.purses[holder.id],
        source_id=payment_id,
        wallet_id=holder.id,
        batch=batch,
    )
    _book(case, draws, [*off, *given], facts, batch)
    if discount is not None:
        note_use(extras, discount, holder, payment_id=payment_id)
    note_gifts(extras, gifts, given, payment_id=payment_id, holder_id=holder.owner_id)
    return tuple(gift.earned for gift in gifts)


def _book(
    case: Case,
    draws: Sequence[Draw],
    more: Sequence[Transfer],
    facts: PayFacts,
    batch: Batch,
) -> None:
    """Move the money as one chain; the draws fit the balances, so it can only succeed.

    ``more`` are linked transfers that belong to the payment.
    """
    payment_id, last = case.request.payment_id, len(draws)
    transfers = [
        Transfer(
            numbered_id(payment_id, leg),
            one.purse.account_id,
            case.terminal.payable_account_id,
            one.amount_yen,
            LEDGER_JPY,
            TRANSFER_PAYMENT,
            LINKED if leg < last else 0,
            user_data_128=payment_id,
            user_data_32=facts.programmes[one.purse.programme_id].number,
        )
        for leg, one in enumerate(draws, 1)
    ]
    if more:
        # The last one closes the chain. A leg may do that as well as any other.
        transfers = [*more, *transfers]
    results = batch.book.create_transfers(transfers)
    if any(result.code is not TransferCode.CREATED for result in results):
        message = f"the ledger refused a payment that fits: {[str(r.code) for r in results]}"
        raise RuntimeError(message)
