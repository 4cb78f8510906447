"""Every way to refuse a transfer, alone and against every other one it can be combined with.

A fault changes a sound request, or the world around it, in one respect. The tables list the
faults in the documented order, so of any two the one listed first must be answered.
"""

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from tests.unit.ledger.building import ALICE, BOB, NOW, balance, pending, post, transfer
from tests.unit.ledger.building import transfer_id as tid
from wallet.ledger.book import Book
from wallet.ledger.checks import inherit
from wallet.ledger.rules import (
    ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS,
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    AMOUNT_MAX,
    BALANCING_CREDIT,
    CLOSING_DEBIT,
    LINKED,
    MAX_ID,
    NIL,
    PENDING,
    POST_PENDING,
    TIMEOUT_S_MAX,
    VOID_PENDING,
    Hold,
    HoldState,
    Transfer,
    TransferCode,
)

NEARLY = AMOUNT_MAX - 50


class Fault(Struct, frozen=True):
    """One thing wrong: ``request``, ``alice``, ``bob``, ``hold``, ``world`` override fields.

    ``flags`` are added. ``booked`` makes the id that of a booked transfer which differs from the
    request in these fields. Two faults with a key in common cannot be combined.
    """

    code: TransferCode
    flags: int = 0
    request: dict[str, Any] = {}
    alice: dict[str, Any] = {}
    bob: dict[str, Any] = {}
    hold: dict[str, Any] = {}
    world: dict[str, Any] = {}
    booked: dict[str, Any] | None = None
    also: frozenset[str] = frozenset()

    def keys(self) -> set[str]:
        """Return what the fault lays its hands on."""
        parts = {"request": self.request, "alice": self.alice, "bob": self.bob}
        parts |= {"hold": self.hold, "world": self.world, "booked": self.booked or {}}
        return {f"{part}.{key}" for part, fields in parts.items() for key in fields} | self.also


def _header() -> list[Fault]:
    return [
        Fault(TransferCode.LINKED_EVENT_CHAIN_OPEN, flags=LINKED),
        Fault(TransferCode.TIMESTAMP_MUST_BE_ZERO, request={"timestamp": NOW}),
        Fault(TransferCode.RESERVED_FLAG, flags=256),
        Fault(TransferCode.ID_MUST_NOT_BE_ZERO, request={"id": NIL}),
        Fault(TransferCode.ID_MUST_NOT_BE_INT_MAX, request={"id": MAX_ID}),
    ]


def _repeats() -> list[Fault]:
    different = {
        "flags": BALANCING_CREDIT,
        "pending_id": tid(88),
        "timeout": 77,
        "debit_account_id": tid(1),
        "credit_account_id": tid(2),
        "amount": 77_777,
        "user_data_128": tid(3),
        "user_data_64": 64,
        "user_data_32": 32,
        "ledger": 55,
        "code": 66,
    }
    return [
        *(
            Fault(
                TransferCode(f"exists_with_different_{name}"),
                booked={"timeout_s" if name == "timeout" else name: value},
                also=frozenset({f"repeat.{name}"}),
            )
            for name, value in different.items()
        ),
        Fault(TransferCode.EXISTS, booked={}, also=frozenset({"repeat."})),
        Fault(TransferCode.ID_ALREADY_FAILED, world={"failed": True}),
    ]


OPENING = [
    *_header(),
    *_repeats(),
    Fault(TransferCode.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, request={"debit_account_id": NIL}),
    Fault(TransferCode.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, request={"debit_account_id": MAX_ID}),
    Fault(TransferCode.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, request={"credit_account_id": NIL}),
    Fault(
        TransferCode.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, request={"credit_account_id": MAX_ID}
    ),
    Fault(
        TransferCode.ACCOUNTS_MUST_BE_DIFFERENT,
        request={"debit_account_id": BOB, "credit_account_id": BOB},
    ),
    Fault(TransferCode.PENDING_ID_MUST_BE_ZERO, request={"pending_id": tid(9)}),
    Fault(
        TransferCode.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER,
        request={"timeout_s": 5},
        also=frozenset({"mode"}),
    ),
    Fault(
        TransferCode.CLOSING_TRANSFER_MUST_BE_PENDING, flags=CLOSING_DEBIT, also=frozenset({"mode"})
    ),
    Fault(TransferCode.LEDGER_MUST_NOT_BE_ZERO, request={"ledger": 0}),
    Fault(TransferCode.CODE_MUST_NOT_BE_ZERO, request={"code": 0}),
    Fault(TransferCode.DEBIT_ACCOUNT_NOT_FOUND, world={"without_alice": True}),
    Fault(TransferCode.CREDIT_ACCOUNT_NOT_FOUND, world={"without_bob": True}),
    Fault(TransferCode.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER, bob={"ledger": 2}),
    Fault(TransferCode.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS, request={"ledger": 7}),
    Fault(TransferCode.DEBIT_ACCOUNT_ALREADY_CLOSED, alice={"closed": True}),
    Fault(TransferCode.CREDIT_ACCOUNT_ALREADY_CLOSED, bob={"closed": True}),
    Fault(
        TransferCode.OVERFLOWS_DEBITS_PENDING,
        flags=PENDING,
        alice={"debits_pending": NEARLY},
        also=frozenset({"mode"}),
    ),
    Fault(
        TransferCode.OVERFLOWS_CREDITS_PENDING,
        flags=PENDING,
        bob={"credits_pending": NEARLY},
        also=frozenset({"mode"}),
    ),
    Fault(TransferCode.OVERFLOWS_DEBITS_POSTED, alice={"debits_posted": NEARLY}),
    Fault(TransferCode.OVERFLOWS_CREDITS_POSTED, bob={"credits_posted": NEARLY}),
    Fault(
        TransferCode.OVERFLOWS_DEBITS, alice={"debits_pending": NEARLY - 100, "debits_posted": 100}
    ),
    Fault(
        TransferCode.OVERFLOWS_CREDITS, bob={"credits_pending": NEARLY - 100, "credits_posted": 100}
    ),
    Fault(
        TransferCode.OVERFLOWS_TIMEOUT,
        flags=PENDING,
        request={"timeout_s": TIMEOUT_S_MAX},
        world={"now": AMOUNT_MAX - 1000},
        also=frozenset({"mode"}),
    ),
    Fault(
        TransferCode.EXCEEDS_CREDITS,
        alice={"flags": ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS, "credits_posted": 99},
    ),
    Fault(
        TransferCode.EXCEEDS_DEBITS,
        bob={"flags": ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS, "debits_posted": 99},
    ),
    Fault(TransferCode.EXCEEDS_MAX_BALANCE, bob={"max_balance": -200}),
]

# A post that is booked always had a pending transfer, so these cannot be wrong in a repeat.
PENDING_ID = frozenset({"pending_id"}).union(*(f.also for f in _repeats()))
RESOLVING = [
    *_header(),
    *_repeats(),
    Fault(TransferCode.FLAGS_ARE_MUTUALLY_EXCLUSIVE, flags=PENDING),
    Fault(TransferCode.PENDING_ID_MUST_NOT_BE_ZERO, request={"pending_id": NIL}, also=PENDING_ID),
    Fault(
        TransferCode.PENDING_ID_MUST_NOT_BE_INT_MAX, request={"pending_id": MAX_ID}, also=PENDING_ID
    ),
    Fault(
        TransferCode.PENDING_ID_MUST_BE_DIFFERENT,
        request={"id": tid(50)},
        also=PENDING_ID | {"world.not_pending"},
        world={"without_pending": True},
    ),
    Fault(TransferCode.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER, request={"timeout_s": 5}),
    Fault(
        TransferCode.PENDING_TRANSFER_NOT_FOUND, world={"without_pending": True}, also=PENDING_ID
    ),
    Fault(TransferCode.PENDING_TRANSFER_NOT_PENDING, world={"not_pending": True}),
    Fault(
        TransferCode.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID,
        request={"debit_account_id": BOB},
    ),
    Fault(
        TransferCode.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID,
        request={"credit_account_id": ALICE},
    ),
    Fault(TransferCode.PENDING_TRANSFER_HAS_DIFFERENT_LEDGER, request={"ledger": 2}),
    Fault(TransferCode.PENDING_TRANSFER_HAS_DIFFERENT_CODE, request={"code": 2}),
    Fault(TransferCode.EXCEEDS_PENDING_TRANSFER_AMOUNT, request={"amount": 101}),
    Fault(
        TransferCode.PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT,
        request={"amount": 99},
        world={"void": True},
        also=frozenset({"alice.closed", "bob.closed"}),
    ),
    Fault(TransferCode.PENDING_TRANSFER_ALREADY_POSTED, hold={"state": HoldState.POSTED}),
    Fault(TransferCode.PENDING_TRANSFER_ALREADY_VOIDED, hold={"state": HoldState.VOIDED}),
    Fault(TransferCode.PENDING_TRANSFER_EXPIRED, hold={"state": HoldState.EXPIRED}),
    Fault(TransferCode.PENDING_TRANSFER_EXPIRED, hold={"expires_at": NOW}),
    Fault(TransferCode.DEBIT_ACCOUNT_ALREADY_CLOSED, alice={"closed": True}),
    Fault(TransferCode.CREDIT_ACCOUNT_ALREADY_CLOSED, bob={"closed": True}),
]


def merged(faults: Iterable[Fault], part: str) -> dict[str, Any]:
    """Return the overrides of all the faults for one part."""
    return {key: value for fault in faults for key, value in getattr(fault, part).items()}


def answer(book: Book, request: Transfer) -> TransferCode:
    """Return the code for the request on its own."""
    return book.create_transfers([request])[0].code


def book_with(faults: Iterable[Fault], request: Transfer, *, held: Transfer | None) -> Book:
    """Return the world that the faults describe."""
    faults = tuple(faults)
    world = merged(faults, "world")
    balances = {
        ALICE: balance(ALICE, **{"debits_pending": 100 if held else 0, **merged(faults, "alice")}),
        BOB: balance(BOB, **{"credits_pending": 100 if held else 0, **merged(faults, "bob")}),
    }
    if world.get("without_alice"):
        del balances[ALICE]
    if world.get("without_bob"):
        del balances[BOB]
    transfers, holds = {}, {}
    if held is not None and not world.get("without_pending"):
        if world.get("not_pending"):
            held = replace(held, flags=0)
        else:
            holds[held.id] = replace_hold(held, merged(faults, "hold"))
        transfers[held.id] = held
    repeated = [fault.booked for fault in faults if fault.booked is not None]
    if repeated:
        known = inherit(request, held) if held else request
        different = {key: value for fields in repeated for key, value in fields.items()}
        if "flags" in different:
            different["flags"] |= known.flags
        transfers[request.id] = replace(known, **different, timestamp=NOW - 7)
    return Book(
        now=world.get("now", NOW),
        balances=balances,
        transfers=transfers,
        holds=holds,
        failed={request.id} if world.get("failed") else set(),
    )


def replace_hold(held: Transfer, fields: dict[str, Any]) -> Hold:
    """Return an open hold without expiry, except for ``fields``."""
    return Hold(**{"transfer": held, "state": HoldState.PENDING, "expires_at": None, **fields})


def opened(faults: Iterable[Fault]) -> TransferCode:
    """Return the answer to a plain transfer with these faults."""
    faults = tuple(faults)
    flags = sum({fault.flags for fault in faults})
    request = transfer(1, **{**merged(faults, "request"), "flags": flags})
    return answer(book_with(faults, request, held=None), request)


def resolved(faults: Iterable[Fault]) -> TransferCode:
    """Return the answer to a post, or void where a fault needs it, with these faults."""
    faults = tuple(faults)
    mode = VOID_PENDING if merged(faults, "world").get("void") else POST_PENDING
    flags = mode | sum({fault.flags for fault in faults})
    request = post(1, 50, **{**merged(faults, "request"), "flags": flags})
    return answer(book_with(faults, request, held=replace(pending(50), timestamp=NOW - 9)), request)


def second_faults(first: Fault, faults: list[Fault]) -> list[Fault]:
    """Return the faults after ``first`` that can be there at the same time."""
    later = faults[faults.index(first) + 1 :]
    return [second for second in later if not first.keys() & second.keys()]


def name(fault: Fault) -> str:
    """Return the fault's name for the test report; a hold expires in two ways."""
    return f"{fault.code}_by_time" if "expires_at" in fault.hold else str(fault.code)


@pytest.mark.parametrize("fault", OPENING, ids=name)
def test_a_transfer_with_one_fault_is_refused_for_it(fault: Fault) -> None:
    assert opened([fault]) is fault.code


@pytest.mark.parametrize("fault", RESOLVING, ids=name)
def test_a_post_or_void_with_one_fault_is_refused_for_it(fault: Fault) -> None:
    assert resolved([fault]) is fault.code


def test_the_request_without_a_fault_is_created() -> None:
    assert opened([]) is TransferCode.CREATED
    assert resolved([]) is TransferCode.CREATED


@pytest.mark.parametrize("first", OPENING[:-1], ids=name)
def test_a_transfer_with_two_faults_is_refused_for_the_first(first: Fault) -> None:
    seconds = second_faults(first, OPENING)
    assert seconds
    answers = {name(second): opened([first, second]) for second in seconds}
    assert answers == dict.fromkeys(answers, first.code)


@pytest.mark.parametrize("first", RESOLVING[:-1], ids=name)
def test_a_post_or_void_with_two_faults_is_refused_for_the_first(first: Fault) -> None:
    seconds = second_faults(first, RESOLVING)
    assert seconds
    answers = {name(second): resolved([first, second]) for second in seconds}
    assert answers == dict.fromkeys(answers, first.code)


def test_the_tables_have_every_code_in_the_documented_order() -> None:
    documented = list(TransferCode)
    for faults in (OPENING, RESOLVING):
        positions = [documented.index(fault.code) for fault in faults]
        assert positions == sorted(positions)
    elsewhere = {TransferCode.CREATED, TransferCode.LINKED_EVENT_FAILED}
    assert {fault.code for fault in OPENING + RESOLVING} | elsewhere == set(TransferCode)


@pytest.mark.parametrize("faults", [OPENING, RESOLVING], ids=["opening", "resolving"])
def test_every_fault_also_comes_second_somewhere(faults: list[Fault]) -> None:
    seconds = {second.code for first in faults for second in second_faults(first, faults)}
    assert seconds == {fault.code for fault in faults[1:]}


@pytest.mark.parametrize("others", [PENDING, VOID_PENDING, 16, 32, 64, 128])
def test_posting_excludes_every_other_mode(others: int) -> None:
    request = post(1, 50, flags=POST_PENDING | others)
    held = replace(pending(50), timestamp=NOW - 9)
    assert answer(book_with([], request, held=held), request) is (
        TransferCode.FLAGS_ARE_MUTUALLY_EXCLUSIVE
    )
