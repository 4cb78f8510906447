"""Pay: a merchant's request becomes a chain of transfers, or a refusal that is kept.

The order of decisions is fixed: repeats first (a retry of a success must never fail), then
stops, the terminal, the instrument, the wallet, its limits, the risk, and the money last.
"""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

import msgspec

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.database import Connection
from wallet.core.ids import numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_PAYMENT
from wallet.ledger.rules import LINKED, Transfer, TransferCode
from wallet.ledger.teller import Batch, Facts
from wallet.payments import storage
from wallet.payments.rules import (
    CARD,
    Holder,
    Part,
    Payment,
    PayRequest,
    Verdict,
    check_limits,
    differences,
    plan,
    weigh_risk,
)
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Draw, Programme, Purse


class Paid(msgspec.Struct, frozen=True, gc=False):
    """The payment there is now, succeeded or declined; ``replayed`` when it was there before."""

    payment: Payment
    replayed: bool


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Nothing was decided and nothing kept; the same key may be used again."""

    refusal: Refusal


class PayFacts(Facts):
    """What a batch of payments needs to know, by its keys."""

    __slots__ = (
        "by_key",
        "by_merchant_id",
        "cards",
        "codes",
        "day",
        "further_keys",
        "new_keys",
        "new_payments",
        "newly_burnt",
        "newly_spent",
        "now",
        "programmes",
        "purses",
        "spent_yen",
        "terminals",
        "wallets",
    )

    day: date
    now: datetime
    by_key: dict[tuple[UUID, str], Payment]
    by_merchant_id: dict[tuple[UUID, str], Payment]
    terminals: dict[UUID, storage.TerminalFacts]
    codes: dict[bytes, storage.CodeFacts]
    cards: dict[bytes, storage.CardFacts]
    wallets: dict[UUID, Holder]
    purses: dict[UUID, list[Purse]]
    spent_yen: dict[UUID, int]
    programmes: dict[UUID, Programme]

    def __init__(self, *, now_us: int) -> None:
        super().__init__()
        self.now, self.day = to_datetime(now_us), japanese_day(now_us)
        # What the decisions of this batch add; later ones see it, and it is written at the end.
        self.new_payments: list[Payment] = []
        self.new_keys: list[str] = []
        self.further_keys: list[tuple[UUID, str, UUID]] = []
        self.newly_burnt: set[bytes] = set()
        self.newly_spent: dict[UUID, int] = {}


class Pay:
    """The kind of work that pays shops."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[PayRequest], now_us: int
    ) -> PayFacts:
        """Read everything for all requests, one query per table, locking codes and holders."""
        facts = PayFacts(now_us=now_us)
        facts.by_key, facts.by_merchant_id = await storage.find_repeats(connection, requests)
        facts.terminals = await storage.find_terminals(
            connection, {request.terminal_id for request in requests}
        )
        facts.codes, facts.cards = await storage.find_instruments(connection, requests)
        wallet_ids = {code.wallet_id for code in facts.codes.values()}
        wallet_ids.update(card.wallet_id for card in facts.cards.values())
        holder_ids = wallet_ids.union(card.holder.id for card in facts.cards.values())
        facts.spent_yen = await storage.lock_spending(connection, holder_ids, day=facts.day)
        facts.wallets, facts.purses, versions = await storage.find_wallets(connection, wallet_ids)
        facts.programmes = await self._shelf.take(connection, versions)
        facts.added_ids.update(t.payable_account_id for t in facts.terminals.values())
        for purses in facts.purses.values():
            facts.account_ids.update(purse.account_id for purse in purses)
        return facts

    def decide(self, request: PayRequest, facts: PayFacts, batch: Batch) -> Paid | Refused:
        """Decide one request against the book; pure but for the book and the facts' counters."""
        repeat = _find_repeat(request, facts)
        if repeat is not None:
            return repeat
        terminal = facts.terminals.get(request.terminal_id)
        refusal = _refuse_at_once(request, terminal, batch.stops)
        if refusal is not None or terminal is None:
            return Refused(refusal or Refusal("terminal_unknown"))
        holders, refusal = _find_holders(request, facts)
        draws: list[Draw] = []
        if refusal is None:
            outcome = self._draw(request, holders, terminal, facts, batch)
            if isinstance(outcome, Refused):
                return outcome
            if isinstance(outcome, Refusal):
                refusal = outcome
            else:
                draws = outcome
        payment = _payment(request, terminal, holders, refusal, draws, facts)
        if refusal is None:
            _book(payment, draws, terminal.payable_account_id, facts.programmes, batch)
        _remember(request, payment, holders, facts)
        return Paid(payment, replayed=False)

    def _draw(
        self,
        request: PayRequest,
        holders: Sequence[Holder],
        terminal: storage.TerminalFacts,
        facts: PayFacts,
        batch: Batch,
    ) -> list[Draw] | Refusal | Refused:
        refusal = check_limits(holders, facts.spent_yen, amount_yen=request.amount_yen)
        if refusal is not None:
            return refusal
        if weigh_risk(request, holders) is not Verdict.ALLOW:
            return Refusal("payment_not_allowed")
        available = batch.book.available
        drawn = plan(
            [(p, available(p.account_id)) for p in facts.purses[holders[0].id]],
            facts.programmes,
            shop=terminal.shop,
            day=facts.day,
            amount_yen=request.amount_yen,
            stops=batch.stops,
        )
        if isinstance(drawn, Refusal) and drawn.code == "service_stopped":
            return Refused(drawn)
        return drawn

    async def record(
        self,
        connection: Connection,
        facts: PayFacts,
        answers: Sequence[Paid | Refused],
        batch: Batch,
    ) -> None:
        """Write the new payments, their keys, what they used up, and their events."""
        del answers, batch
        if facts.further_keys:
            await storage.insert_keys(connection, facts.further_keys, now=facts.now)
        if facts.new_payments:
            await storage.record(
                connection,
                facts.new_payments,
                facts.new_keys,
                facts.newly_spent,
                now=facts.now,
                day=facts.day,
            )


def _find_repeat(request: PayRequest, facts: PayFacts) -> Paid | Refused | None:
    """Answer a request that was made before, by its key or by the merchant's own id."""
    key = (request.merchant_id, request.idempotency_key)
    by_key = facts.by_key.get(key)
    found = by_key or facts.by_merchant_id.get((request.merchant_id, request.merchant_payment_id))
    if found is None:
        return None
    different = differences(request, found)
    if different:
        return Refused(
            Refusal("idempotency_conflict", {"different": different, "payment_id": found.id})
        )
    if by_key is None:
        facts.by_key[key] = found
        facts.further_keys.append((*key, found.id))
    return Paid(found, replayed=found.id != request.payment_id)


def _refuse_at_once(
    request: PayRequest, terminal: storage.TerminalFacts | None, stops: frozenset[str]
) -> Refusal | None:
    """Refuse what is not this payment's fault and may be different in a moment."""
    if stops and not stops.isdisjoint(("all", "pay", f"merchant:{request.merchant_id.hex}")):
        return Refusal("service_stopped")
    if terminal is None or terminal.merchant_id != request.merchant_id or not terminal.active:
        return Refusal("terminal_unknown")
    if not terminal.merchant_active:
        return Refusal("merchant_suspended")
    return None


def _find_holders(request: PayRequest, facts: PayFacts) -> tuple[list[Holder], Refusal | None]:
    """Return who pays, the wallet first, and what keeps the instrument from being used."""
    if request.instrument == CARD:
        card = facts.cards.get(request.instrument_hash)
        if card is None:
            return [], Refusal("card_unknown")
        holders = [facts.wallets[card.wallet_id], card.holder]
        refused = "card_blocked" if card.holder.state != "active" else None
    else:
        code = facts.codes.get(request.instrument_hash)
        if code is None:
            return [], Refusal("code_unknown")
        holders = [facts.wallets[code.wallet_id]]
        refused = None
        if code.burnt_by is not None or request.instrument_hash in facts.newly_burnt:
            refused = "code_used"
        elif code.expires_at <= facts.now:
            refused = "code_expired"
    if refused is None and holders[0].state != "active":
        refused = "wallet_frozen"
    return holders, Refusal(refused) if refused else None


def _payment(
    request: PayRequest,
    terminal: storage.TerminalFacts,
    holders: Sequence[Holder],
    refusal: Refusal | None,
    draws: Sequence[Draw],
    facts: PayFacts,
) -> Payment:
    programmes = facts.programmes
    return Payment(
        request.payment_id,
        request.merchant_id,
        request.merchant_payment_id,
        terminal.shop.id,
        request.terminal_id,
        request.amount_yen,
        request.instrument,
        request.instrument_hash,
        request.description,
        refusal,
        holders[0].id if holders else None,
        facts.now,
        tuple(
            Part(programmes[d.purse.programme_id].code, d.purse.funding, d.amount_yen)
            for d in draws
        ),
    )


def _book(
    payment: Payment,
    draws: Sequence[Draw],
    payable_account_id: UUID,
    programmes: dict[UUID, Programme],
    batch: Batch,
) -> None:
    """Move the money as one chain; the draws fit the balances, so it can only succeed."""
    last = len(draws)
    results = batch.book.create_transfers(
        [
            Transfer(
                numbered_id(payment.id, leg),
                one.purse.account_id,
                payable_account_id,
                one.amount_yen,
                LEDGER_JPY,
                TRANSFER_PAYMENT,
                LINKED if leg < last else 0,
                user_data_128=payment.id,
                user_data_32=programmes[one.purse.programme_id].number,
            )
            for leg, one in enumerate(draws, 1)
        ]
    )
    if any(result.code is not TransferCode.CREATED for result in results):
        message = f"the ledger refused a payment that fits: {[str(r.code) for r in results]}"
        raise RuntimeError(message)


def _remember(
    request: PayRequest, payment: Payment, holders: Sequence[Holder], facts: PayFacts
) -> None:
    """Let the rest of the batch see the payment, and have it written with the batch."""
    key = (request.merchant_id, request.idempotency_key)
    facts.by_key[key] = payment
    facts.by_merchant_id[request.merchant_id, request.merchant_payment_id] = payment
    facts.new_keys.append(request.idempotency_key)
    facts.new_payments.append(payment)
    if request.instrument_hash in facts.codes:
        facts.newly_burnt.add(request.instrument_hash)
    if payment.refusal is None:
        for holder in holders:
            facts.spent_yen[holder.id] += payment.amount_yen
            facts.newly_spent[holder.id] = facts.spent_yen[holder.id]
