"""A ledger in which everything has happened once, for proofs to look at."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tests.factories.ledger import (
    account,
    codes,
    fund,
    open_accounts,
    open_teller,
    pending,
    post,
    transfer,
    void,
)
from tests.factories.moments import NOW_US
from wallet.core.clock import TestClock
from wallet.ledger.create import CREATE, CreateRequest
from wallet.ledger.rules import (
    ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS,
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    ACCOUNT_HISTORY,
    BALANCING_DEBIT,
    CLOSING_DEBIT,
    LINKED,
)

LATER_US = NOW_US + 3_600_000_000


@dataclass(frozen=True, kw_only=True)
class History:
    """Ids of what there is; the accounts are named by what limits them."""

    payer: UUID
    payee: UUID
    mirror: UUID
    overdraft: UUID
    capped: UUID
    closed: UUID
    source: UUID
    plain: UUID
    chain: tuple[UUID, UUID]
    open_hold: UUID
    posted_hold: UUID
    posting: UUID
    voided_hold: UUID
    voiding: UUID
    expired_hold: UUID
    burnt: UUID

    @property
    def values(self) -> dict[str, Any]:
        """All of them by name, as parameters of SQL."""
        return {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name != "chain"
        } | {"first": self.chain[0], "second": self.chain[1]}


async def make_history(database_url: str) -> History:
    """Let everything happen once."""
    clock = TestClock(NOW_US)
    async with open_teller(database_url, clock=clock) as teller:
        payer, payee, mirror, overdraft, capped, closed = await open_accounts(
            teller,
            account(flags=ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS | ACCOUNT_HISTORY),
            account(),
            account(flags=ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS),
            account(min_available=-500),
            account(max_balance=1_000),
            account(),
        )
        source = await fund(teller, payer, 10_000)
        plain = transfer(payer, payee, 700)
        chain = (transfer(payer, payee, 100, flags=LINKED), transfer(payer, capped, 200))
        ready = (transfer(mirror, payee, 50), transfer(overdraft, payee, 400))
        assert set(await codes(teller, plain, *chain, *ready)) == {"created"}
        open_hold = pending(payer, payee, 1_000)
        posted, voided = pending(payer, payee, 800, timeout_s=600), pending(payer, mirror, 30)
        expired = pending(payer, capped, 300, timeout_s=60)
        closing = pending(closed, payee, 0, more=CLOSING_DEBIT)
        held = (open_hold, posted, voided, expired, closing)
        assert set(await codes(teller, *held)) == {"created"}
        posting, voiding = post(posted, 500), void(voided)
        burnt = transfer(payer, payee, 1_000_000)
        answers = await codes(teller, posting, voiding, burnt)
        assert answers == ["created", "created", "exceeds_credits"]
        clock.advance(seconds=61)
        await teller.submit(CREATE, CreateRequest())
        swept = transfer(payer, source, 5_000, flags=BALANCING_DEBIT)
        assert await codes(teller, swept) == ["created"]
    return History(
        payer=payer,
        payee=payee,
        mirror=mirror,
        overdraft=overdraft,
        capped=capped,
        closed=closed,
        source=source,
        plain=plain.id,
        chain=(chain[0].id, chain[1].id),
        open_hold=open_hold.id,
        posted_hold=posted.id,
        posting=posting.id,
        voided_hold=voided.id,
        voiding=voiding.id,
        expired_hold=expired.id,
        burnt=burnt.id,
    )
