"""Issue: value of a programme becomes money in a wallet's purses, as one chain of transfers.

What the holder has paid comes from the programme's clearing account, what the city adds from its
budget; each goes to a purse of its own and they never mix. Where a set is made of several classes
of purses, each class is a programme with a clearing account, a budget and a last day of its own,
and all of them are in the same chain. A purse is opened when money first arrives for it. Nothing
is kept of a refusal, so the same id may be asked for again.

The order of decisions is fixed: stops, the programme, repeats, the wallet, the period, the form
of the request, the quotas, and the budget last.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.database import Connection
from wallet.core.ids import numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_ISSUE
from wallet.ledger.rules import (
    LINKED,
    Account,
    AccountCode,
    Transfer,
    TransferCode,
)
from wallet.ledger.storage import Prior, find_transfers
from wallet.ledger.work import Batch, Facts
from wallet.ops.rules import ScopeKind, matches
from wallet.programmes.purses import (
    WalletFacts,
    find_purse,
    find_versions,
    insert_purses,
    lock_wallets,
    purse_account,
)
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Funding, Programme, Purse
from wallet.programmes.terms import expires_on_of
from wallet.vouchers.rules import (
    IssueRequest,
    Portion,
    Source,
    check_period,
    check_quotas,
    is_repeat,
    parts_of,
    portions_of,
)
from wallet.vouchers.storage import count_sets


class Issued(msgspec.Struct, frozen=True, gc=False):
    """What the wallet has received; ``replayed`` when it had received it before.

    ``price_yen`` was paid by the holder, ``face_yen`` is what the money is worth.
    """

    issue_id: UUID
    wallet_id: UUID
    programme: str
    sets: int
    price_yen: int
    face_yen: int
    replayed: bool


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Nothing was issued and nothing kept; the same id may be used again."""

    refusal: Refusal


class IssueFacts(Facts):
    """What a batch of issues needs to know, by its keys; its decisions add to it."""

    __slots__ = ("day", "issued", "new_purses", "programmes", "sets", "wallets")

    day: date
    programmes: dict[str, Programme]
    wallets: dict[UUID, WalletFacts]
    sets: dict[UUID, int]

    def __init__(self, *, now_us: int) -> None:
        super().__init__()
        self.day = japanese_day(now_us)
        self.new_purses: list[tuple[UUID, Purse]] = []
        self.issued: list[Issued] = []


class Issue:
    """The kind of work behind :data:`ISSUE`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[IssueRequest], now_us: int
    ) -> IssueFacts:
        """Read everything for all requests, one query per table, locking the wallets."""
        facts = IssueFacts(now_us=now_us)
        facts.wallets = await lock_wallets(connection, {r.wallet_id for r in requests})
        facts.programmes = await self._find_programmes(connection, requests)
        # After the lock: whoever has just issued under the same id held it until the commit.
        booked, burnt = await find_transfers(connection, list(_ids(requests, facts.programmes)))
        facts.prior = Prior(transfers=booked, burnt=burnt)
        programme_ids = {programme.id for programme in facts.programmes.values()}
        purses = [
            purse
            for wallet in facts.wallets.values()
            for purse in wallet.purses
            if purse.programme_id in programme_ids
        ]
        facts.sets = await count_sets(
            connection, [purse.account_id for purse in purses if purse.funding == Funding.PAID]
        )
        facts.account_ids.update(purse.account_id for purse in purses)
        for programme in facts.programmes.values():
            facts.account_ids |= {programme.clearing_account_id, programme.budget_account_id}
        return facts

    async def _find_programmes(
        self, connection: Connection, requests: Sequence[IssueRequest]
    ) -> dict[str, Programme]:
        """Return the programmes that are issued and, for those made of parts, their companions."""
        versions = await find_versions(connection, {r.programme for r in requests})
        known = await self._shelf.take(connection, versions)
        programmes = {known[i].code: known[i] for i in versions}
        companions = {
            part.programme
            for programme in programmes.values()
            if programme.frame is not None
            for part in programme.frame.parts
        } - programmes.keys()
        if companions:
            versions = await find_versions(connection, companions)
            known = await self._shelf.take(connection, versions)
            programmes |= {known[i].code: known[i] for i in versions}
        return programmes

    def decide(self, request: IssueRequest, facts: IssueFacts, batch: Batch) -> Issued | Refused:
        """Decide one request against the book; pure but for the book and the facts."""
        stops = batch.stops
        if stops and matches(stops, ScopeKind.ISSUE, programme=request.programme):
            return Refused(Refusal("service_stopped"))
        programme = facts.programmes.get(request.programme)
        if programme is None:
            return Refused(Refusal("programme_unknown", {"programme": request.programme}))
        repeat = _find_repeat(request, programme, facts, batch)
        if repeat is not None:
            return repeat
        portions = _check(request, programme, facts, batch)
        if isinstance(portions, Refusal):
            return Refused(portions)
        _book(request, portions, facts, batch)
        issued = Issued(
            request.issue_id,
            request.wallet_id,
            programme.code,
            request.sets,
            sum(p.amount_yen for p in portions if p.source is Source.CLEARING),
            sum(p.amount_yen for p in portions),
            replayed=False,
        )
        facts.issued.append(issued)
        return issued

    async def record(
        self, connection: Connection, facts: IssueFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the new purses and the events."""
        del answers
        await insert_purses(connection, facts.new_purses)
        events = [_event(issued) for issued in facts.issued]
        await append(connection, events=events, now=to_datetime(batch.now_us))


ISSUE: Final = Issue()
"""The kind of work that issues value; one in a process, with one shelf of programmes."""


def _ids(requests: Sequence[IssueRequest], programmes: Mapping[str, Programme]) -> Iterator[UUID]:
    """Yield the ids that the requests' transfers have, or would have."""
    for request in requests:
        programme = programmes.get(request.programme)
        frame = None if programme is None else programme.frame
        parts = 1 if frame is None or not frame.parts else len(frame.parts)
        for number in range(1, 2 * parts + 1):
            yield numbered_id(request.issue_id, number)


def _find_repeat(
    request: IssueRequest, programme: Programme, facts: IssueFacts, batch: Batch
) -> Issued | Refused | None:
    """Answer a request whose id was used before, in an earlier batch or in this one."""
    ids = _ids([request], facts.programmes)
    booked = [transfer for i in ids if (transfer := batch.book.transfers.get(i))]
    if not booked:
        return None
    if not is_repeat(request, booked[0], programme):
        return Refused(Refusal("idempotency_conflict", {"issue_id": request.issue_id}))
    clearing = {one.clearing_account_id for one in facts.programmes.values()}
    return Issued(
        request.issue_id,
        request.wallet_id,
        programme.code,
        request.sets,
        sum(t.amount for t in booked if t.debit_account_id in clearing),
        sum(t.amount for t in booked),
        replayed=True,
    )


def _check(
    request: IssueRequest, programme: Programme, facts: IssueFacts, batch: Batch
) -> list[Portion] | Refusal:
    """Return what to book, or the first reason not to."""
    wallet = facts.wallets.get(request.wallet_id)
    if wallet is None:
        return Refusal("wallet_unknown")
    if wallet.state != "active":
        return Refusal("wallet_frozen")
    refusal = check_period(programme, day=facts.day)
    portions = refusal or portions_of(request, programme, facts.programmes)
    if isinstance(portions, Refusal):
        return portions
    refusal = check_quotas(
        programme,
        sets=request.sets,
        wallet_sets=_wallet_sets(wallet, programme, facts),
        programme_sets=_programme_sets(programme, batch),
    )
    return refusal or _check_portions(portions, facts, batch) or portions


def _check_portions(portions: Sequence[Portion], facts: IssueFacts, batch: Batch) -> Refusal | None:
    """Refuse what one of the parts cannot give: its time is over, or its budget."""
    for portion in portions:
        refusal = check_period(portion.programme, day=facts.day)
        if refusal is not None:
            return refusal
        # Each programme adds to one portion at most, so nothing is counted twice.
        if portion.source is Source.BUDGET:
            left_yen = batch.book.available(portion.programme.budget_account_id)
            if portion.amount_yen > left_yen:
                return Refusal("budget_exhausted", {"left_yen": left_yen})
    return None


def _wallet_sets(wallet: WalletFacts, programme: Programme, facts: IssueFacts) -> int:
    return sum(
        facts.sets.get(purse.account_id, 0)
        for purse in wallet.purses
        if purse.programme_id == programme.id
    )


def _programme_sets(programme: Programme, batch: Batch) -> int:
    """Nothing but a sale debits the clearing account, so its debits are the sets sold so far."""
    if programme.frame is None:
        return 0
    clearing = batch.book.balances[programme.clearing_account_id]
    return clearing.debits_posted // parts_of(programme)[0].paid_yen


def _book(
    request: IssueRequest, portions: Sequence[Portion], facts: IssueFacts, batch: Batch
) -> None:
    """Open the purses that are missing and fill them as one chain; it fits, so it succeeds."""
    wallet = facts.wallets[request.wallet_id]
    opened: list[Purse] = []
    accounts: list[Account] = []
    transfers: list[Transfer] = []
    for number, portion in enumerate(portions, 1):
        programme = portion.programme
        transfer_id = numbered_id(request.issue_id, number)
        expires_on = expires_on_of(programme.terms, facts.day)
        purse = find_purse(
            wallet.purses,
            programme_id=programme.id,
            funding=portion.funding,
            expires_on=expires_on,
        )
        if purse is None:
            purse = Purse(transfer_id, programme.id, portion.funding, expires_on)
            opened.append(purse)
            accounts.append(
                purse_account(
                    transfer_id, wallet_id=request.wallet_id, programme_number=programme.number
                )
            )
        transfers.append(
            _transfer(request, portion, transfer_id, purse, is_last=number == len(portions))
        )
    _apply(accounts, transfers, batch)
    wallet.purses.extend(opened)
    facts.new_purses.extend((request.wallet_id, purse) for purse in opened)
    first = transfers[0].credit_account_id
    facts.sets[first] = facts.sets.get(first, 0) + request.sets


def _transfer(
    request: IssueRequest, portion: Portion, transfer_id: UUID, purse: Purse, *, is_last: bool
) -> Transfer:
    programme = portion.programme
    source_id = programme.budget_account_id
    if portion.source is Source.CLEARING:
        source_id = programme.clearing_account_id
    return Transfer(
        transfer_id,
        source_id,
        purse.account_id,
        portion.amount_yen,
        LEDGER_JPY,
        TRANSFER_ISSUE,
        0 if is_last else LINKED,
        user_data_128=request.wallet_id,
        user_data_64=request.sets,
        user_data_32=programme.number,
    )


def _apply(accounts: Sequence[Account], transfers: Sequence[Transfer], batch: Batch) -> None:
    codes = [str(result.code) for result in batch.book.create_accounts(accounts)]
    codes += [str(result.code) for result in batch.book.create_transfers(transfers)]
    if set(codes) - {AccountCode.CREATED, TransferCode.CREATED}:
        message = f"the ledger refused an issue that fits: {codes}"
        raise RuntimeError(message)


_encode: Final = msgspec.json.Encoder().encode


def _event(issued: Issued) -> Event:
    """The thin body others will hear: ids and amounts."""
    body = {
        "issue_id": str(issued.issue_id),
        "wallet_id": str(issued.wallet_id),
        "programme": issued.programme,
        "sets": issued.sets,
        "price_yen": issued.price_yen,
        "face_yen": issued.face_yen,
    }
    return Event(issued.issue_id, "voucher.issued", _encode(body).decode())
