"""Whatever is asked of a book, in whatever order: what must hold all the same.

The machine keeps a log of what the books have listed as done, and compares the balances with a
naive replay of that log. The replay shares no code with the book.
"""

from copy import copy
from itertools import accumulate, pairwise, permutations
from typing import Any, Final
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from tests.unit.ledger.building import NOW, SECOND, Store, snapshot
from wallet.ledger.book import Book
from wallet.ledger.rules import (
    AMOUNT_MAX,
    NIL,
    TRANSIENT,
    Account,
    AccountCode,
    Balance,
    HoldState,
    Transfer,
    TransferCode,
    TransferResult,
)

ACCOUNT_IDS: Final = [UUID(int=number) for number in range(1, 6)]
ABSENT: Final = UUID(int=99)

# Plain numbers, so that a wrong constant in the rules is found as well.
LINKED, PENDING, POST, VOID = 1, 2, 4, 8
BALANCING: Final = 16 | 32
FLAGS: Final = [0, 0, 0, PENDING, PENDING, PENDING, 16, 32, 48, PENDING | 16, PENDING | 64]
SPOILT: Final[list[dict[str, Any]]] = [
    {"debit_account_id": ABSENT},
    {"credit_account_id": ACCOUNT_IDS[0]},
    {"ledger": 2},
    {"code": 0},
    {"code": 2},
    {"flags": PENDING | 128},
    {"flags": VOID | PENDING},
    {"timestamp": 1},
]
PAIRS: Final = st.sampled_from(list(permutations(ACCOUNT_IDS, 2)))

rarely: st.SearchStrategy[bool] = st.integers(0, 11).map(lambda number: number == 7)


def transfer_id(number: int) -> UUID:
    """Return the id of the machine's ``number``-th transfer."""
    return UUID(int=1000 + number)


END_OF_CHAIN: Final = Transfer(transfer_id(-1), ABSENT, ABSENT, 0, 0, 0)


@st.composite
def openings(draw: st.DrawFn, id_: UUID) -> Transfer:
    """Move or hold something between two of the accounts, most often soundly."""
    flags = draw(st.sampled_from(FLAGS))
    debit, credit = draw(PAIRS)
    amount = draw(st.integers(0, 60))
    return Transfer(
        id_,
        debit,
        credit,
        AMOUNT_MAX if flags & BALANCING and amount & 1 else amount,
        1,
        1,
        flags,
        timeout_s=amount % 3 if flags & PENDING else 0,
    )


@st.composite
def resolutions(draw: st.DrawFn, id_: UUID, pending_id: UUID) -> Transfer:
    """Post all, a part or too much of a hold, or void it."""
    flags = draw(st.sampled_from([POST, POST, VOID]))
    amount = draw(st.sampled_from([AMOUNT_MAX, 0, 1, 61] if flags == POST else [0, 0, 0, 1]))
    return Transfer(id_, NIL, NIL, amount, 0, 0, flags, pending_id)


@st.composite
def requests(
    draw: st.DrawFn, *, known: int = 0, open_holds: list[UUID] | None = None, size: int = 8
) -> list[Transfer]:
    """One request: mostly new ids after the ``known`` ones, mostly posts of what is open."""
    request: list[Transfer] = []
    holds = list(open_holds or ())
    for number in range(known, known + draw(st.integers(1, size))):
        id_ = transfer_id(number)
        if draw(st.booleans()) and holds:
            made = draw(resolutions(id_, draw(st.sampled_from(holds))))
        else:
            made = draw(openings(id_))
        if draw(rarely):
            made = replace(made, **draw(st.sampled_from(SPOILT)))
        if draw(rarely):
            known_ids = st.integers(0, number).map(transfer_id)
            made = replace(
                made, id=draw(known_ids), pending_id=draw(st.one_of(st.just(NIL), known_ids))
            )
        link = LINKED * (draw(st.integers(0, 3)) == 0)
        request.append(replace(made, flags=made.flags | link))
        if made.flags & PENDING:
            holds.append(id_)
    if not draw(rarely):
        request[-1] = replace(request[-1], flags=request[-1].flags & ~LINKED)
    return request


@st.composite
def account_sets(draw: st.DrawFn) -> list[Account]:
    """All the accounts but a few, with all kinds of limits, nearly all on one ledger."""
    return [
        Account(
            account_id,
            2 if draw(rarely) else 1,
            1,
            draw(st.sampled_from([2, 4, 32])) if draw(rarely) else 0,
            min_available=draw(st.none() | st.integers(-90, 5)),
            max_balance=draw(st.none() | st.integers(0, 150)),
        )
        for account_id in ACCOUNT_IDS
        if not draw(rarely)
    ]


class Replayed:
    """An account as a naive replay sees it."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.debits_pending = self.debits_posted = 0
        self.credits_pending = self.credits_posted = 0
        self.closed = bool(account.flags & 32)
        self.count = 0
        self.last = account.timestamp
        self.debited = self.credited = False

    def check_limits(self) -> None:
        """Hold the account against every limit it was given."""
        account = self.account
        left = self.credits_posted - self.debits_posted - self.debits_pending
        if account.flags & 2:
            assert left >= 0
        if account.flags & 4:
            assert self.credits_posted + self.credits_pending <= self.debits_posted
        if account.min_available is not None and self.debited:
            assert left >= account.min_available
        if account.max_balance is not None and self.credited:
            most = self.credits_posted + self.credits_pending - self.debits_posted
            assert most <= account.max_balance

    def compare(self, found: Balance) -> None:
        """Hold the account against the balance that the books have kept."""
        for field in ("debits_pending", "debits_posted", "credits_pending", "credits_posted"):
            assert getattr(self, field) == getattr(found, field) >= 0
        assert (self.closed, self.count, self.last) == (
            found.closed,
            found.transfer_count,
            found.last_timestamp,
        )


def replay(accounts: dict[UUID, Account], log: list[tuple[str, Transfer]]) -> dict[UUID, Replayed]:
    """Return every account after the log, having checked its limits after each entry."""
    world = {id_: Replayed(account) for id_, account in accounts.items()}
    by_id = {transfer.id: transfer for _, transfer in log}
    for event, transfer in log:
        debit, credit = (world[transfer.debit_account_id], world[transfer.credit_account_id])
        held, moved = 0, 0
        if event == "expired":
            held = -transfer.amount
        elif transfer.flags & PENDING:
            held = transfer.amount
        elif transfer.flags & (POST | VOID):
            held = -by_id[transfer.pending_id].amount
            moved = transfer.amount if transfer.flags & POST else 0
        else:
            moved = transfer.amount
        debit.debits_pending += held
        credit.credits_pending += held
        debit.debits_posted += moved
        credit.credits_posted += moved
        reopens = event == "expired" or transfer.flags & VOID
        closing = by_id[transfer.pending_id] if transfer.flags & VOID else transfer
        for side, flag in ((debit, 64), (credit, 128)):
            if closing.flags & flag:
                side.closed = not reopens
            if event == "booked":
                side.count, side.last = side.count + 1, transfer.timestamp
        debit.debited = credit.credited = True
        debit.check_limits()
        credit.check_limits()
    return world


class LongWay(Book):
    """A book without the fast path: everything is judged check by check."""

    def _create_transfer(self, t: Transfer) -> TransferResult:
        return self._judge(t)


class LedgerMachine(RuleBasedStateMachine):
    """Requests, time and repeats against books that are opened and closed like batches."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.log: list[tuple[str, Transfer]] = []
        self.now = NOW
        self.known = 0

    @initialize(accounts=account_sets())
    def begin(self, accounts: list[Account]) -> None:
        """Have some accounts to begin with."""
        self.create(accounts)

    @rule(accounts=account_sets())
    def create(self, accounts: list[Account]) -> None:
        """Create accounts, some of which may be there already."""
        book = self.store.open(now=self.now)
        results = book.create_accounts(accounts)
        for account, result in zip(accounts, results, strict=True):
            known = account.id in self.store.accounts
            assert (result.code is AccountCode.CREATED) is not known
            assert known is str(result.code).startswith("exists")
        self.store.write(book)

    def draw_request(self, data: st.DataObject) -> list[Transfer]:
        """Return a request that has something to do with the present state."""
        holds = self.store.holds.items()
        open_holds = [id_ for id_, hold in holds if hold.state is HoldState.PENDING]
        return data.draw(requests(known=self.known, open_holds=open_holds))

    @rule(data=st.data(), seconds=st.integers(0, 2), sweep=st.booleans())
    def ask(self, data: st.DataObject, seconds: int, *, sweep: bool) -> None:
        """Settle a request in a book of its own, a little later than the one before."""
        self.now += seconds * SECOND
        request = self.draw_request(data)
        self.known += len(request)
        book = self.store.open(now=self.now)
        longer = LongWay(**_opening(self.store, self.now))
        if sweep:
            assert book.expire_holds() == longer.expire_holds() == len(book.resolved)
            self.log += [("expired", hold.transfer) for hold in book.resolved]
        _undo(book, request)
        results = book.create_transfers(request)
        assert longer.create_transfers(request) == results
        assert snapshot(longer) == snapshot(book)
        self.check_answers(request, results, book)
        self.log += [("booked", transfer) for transfer in book.booked]
        self.store.write(book)

    def check_answers(
        self, request: list[Transfer], results: list[TransferResult], book: Book
    ) -> None:
        """Hold the answers against what the book lists, and against the past."""
        created = [r for r in results if r.code is TransferCode.CREATED]
        assert [(r.timestamp, r.amount) for r in created] == [
            (transfer.timestamp, transfer.amount) for transfer in book.booked
        ]
        stamps = [transfer.timestamp for transfer in book.booked]
        assert stamps == sorted(set(stamps))
        assert all(stamp >= self.now for stamp in stamps)
        assert not {transfer.id for transfer in book.booked} & set(self.store.transfers)
        told = {
            transfer.id: result.code
            for transfer, result in zip(request, results, strict=True)
            if result.code in TRANSIENT
        }
        assert told == book.burnt
        for transfer, result in zip(request, results, strict=True):
            if result.code is TransferCode.ID_ALREADY_FAILED:
                assert transfer.id in self.store.burnt | set(book.burnt)
            if result.code is TransferCode.EXISTS:
                assert result.timestamp == book.transfers[transfer.id].timestamp

    def teardown(self) -> None:
        """Ask again for all that was booked: it exists, and nothing moves."""
        book = self.store.open(now=self.now)
        for booked in self.store.transfers.values():
            # The first repeat breaks its chain, so a linked one needs no more than an end.
            asked = [replace(booked, timestamp=0)] + [END_OF_CHAIN] * (booked.flags & LINKED)
            result = book.create_transfers(asked)[0]
            assert result == TransferResult(TransferCode.EXISTS, booked.timestamp, booked.amount)
        assert not book.touched

    @invariant()
    def debits_equal_credits(self) -> None:
        """Over all accounts, pending and posted each."""
        balances = self.store.balances.values()
        assert sum(b.debits_posted for b in balances) == sum(b.credits_posted for b in balances)
        assert sum(b.debits_pending for b in balances) == sum(b.credits_pending for b in balances)

    @invariant()
    def balances_equal_the_replay_and_no_limit_was_ever_broken(self) -> None:
        """Every counter, at every step."""
        for account_id, replayed in replay(self.store.accounts, self.log).items():
            replayed.compare(self.store.balances[account_id])

    @invariant()
    def a_hold_is_resolved_by_one_transfer_at_most(self) -> None:
        """Compare the holds' states with the log."""
        by_hold: dict[UUID, list[HoldState]] = {id_: [] for id_ in self.store.holds}
        for event, transfer in self.log:
            if event == "expired":
                by_hold[transfer.id].append(HoldState.EXPIRED)
            elif transfer.flags & (POST | VOID):
                state = HoldState.POSTED if transfer.flags & POST else HoldState.VOIDED
                by_hold[transfer.pending_id].append(state)
        for hold_id, states in by_hold.items():
            assert states in ([], [self.store.holds[hold_id].state])
            assert states or self.store.holds[hold_id].state is HoldState.PENDING


def _undo(book: Book, request: list[Transfer]) -> None:
    """Run the request and undo it; nothing of it may remain."""
    mark, before = book.checkpoint(), snapshot(book)
    book.create_transfers(request)
    book.expire_holds()
    book.rollback(mark)
    assert snapshot(book) == before
    assert book.checkpoint() == mark


def _opening(store: Store, now: int) -> dict[str, Any]:
    return {
        "now": now,
        "balances": {id_: copy(found) for id_, found in store.balances.items()},
        "accounts": store.accounts,
        "transfers": store.transfers,
        "holds": {id_: copy(hold) for id_, hold in store.holds.items()},
        "failed": store.burnt,
    }


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


@settings(max_examples=80, deadline=None)
@given(accounts=account_sets(), events=requests(size=30), cuts=st.lists(st.integers(1, 5)))
def test_a_batch_answers_as_its_requests_would_one_by_one(
    accounts: list[Account], events: list[Transfer], cuts: list[int]
) -> None:
    together, apart = Store(), Store()
    for store in (together, apart):
        founding = store.open(now=NOW)
        founding.create_accounts(accounts)
        store.write(founding)
    book = together.open(now=NOW)
    for request in _cut(events, cuts):
        single = apart.open(now=NOW)
        at_once = [(r.code, r.amount) for r in book.create_transfers(request)]
        assert at_once == [(r.code, r.amount) for r in single.create_transfers(request)]
        apart.write(single)
    together.write(book)
    assert together.balances == apart.balances
    assert together.transfers == apart.transfers
    assert together.holds == apart.holds
    assert together.burnt == apart.burnt


def _cut(events: list[Transfer], cuts: list[int]) -> list[list[Transfer]]:
    """Return the events in requests of these lengths, and the rest as one."""
    starts = [0, *accumulate(cuts), len(events)]
    return [events[start:end] for start, end in pairwise(starts) if start < end]
