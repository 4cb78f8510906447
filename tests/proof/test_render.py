"""A proof as people read it."""

import io

from rich.console import Console

from tests.factories.moments import NOW_US
from wallet.ledger.findings import Check, Finding
from wallet.ledger.seal import Seal
from wallet.ledger.verify import LedgerReport
from wallet.ledger.verify_seals import SealReport
from wallet.proof import Proof, render
from wallet.proof.programmes import ProgrammeTotals

GOOD = Check("ledgers_balance", 1)
HEAD = Seal(3, 0, NOW_US, 1_200, bytes(32), b"\xab" * 32, NOW_US)


def rendered(*checks: Check, seals: SealReport | None = None) -> list[str]:
    """Return the lines of a proof whose ledger had these checks."""
    ledger = LedgerReport(NOW_US, 7, 1_234, checks)
    totals = [ProgrammeTotals("coin", 1, 10_000, 7_000, 3_000, 0, 0)]
    proof = Proof(ledger, 5, totals, [GOOD], seals)
    console = Console(file=io.StringIO(), width=160)
    render(proof, console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_green_proof_says_so_in_its_last_line() -> None:
    lines = rendered(GOOD)
    assert lines[0] == "green  ledgers balance (1 looked at)"
    assert lines[-1] == "OK: 1,234 transfers, 7 accounts, 5 payments; nothing differs."
    assert " coin       10,000        7,000     3,000        0         0" in lines


def test_findings_stand_below_their_check_word_for_word() -> None:
    found = Finding("account", "[7]", "debits_posted", 101, 100)
    lines = rendered(GOOD, Check("balances_equal_their_transfers", 7, 52, [found]))
    assert lines[1:4] == [
        "RED  balances equal their transfers (7 looked at)",
        "       account [7]: debits_posted: stored 101, computed 100",
        "       and 51 more",
    ]
    assert lines[-1] == "NOT OK: 52 differences."


def test_the_head_of_the_seals_is_there_to_be_published() -> None:
    report = SealReport(3, 1_200, HEAD, [Check("seals_form_one_chain", 3)])
    lines = rendered(GOOD, seals=report)
    assert "green  seals form one chain (3 looked at)" in lines
    assert lines[-2] == f"1,200 of 1,234 transfers are sealed; seal 3: {'ab' * 32}"
