"""A proof for people: one line for each check, and what was found below it."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from wallet.ledger.findings import Check
from wallet.proof.programmes import ProgrammeTotals
from wallet.proof.prove import Proof


def render(proof: Proof, console: Console) -> None:
    """Print the checks, the programmes' money, and the verdict."""
    for check in proof.checks:
        _render_check(check, console)
    if proof.programmes:
        console.print(_programmes(proof.programmes), highlight=False)
    if proof.seals is not None and proof.seals.head is not None:
        head = proof.seals.head
        console.print(
            f"{proof.seals.transfers:,} of {proof.ledger.transfers:,} transfers are sealed;"
            f" seal {head.number}: {head.hash.hex()}",
            highlight=False,
            soft_wrap=True,
        )
    problems = sum(check.problems for check in proof.checks)
    if proof.ok:
        console.print(
            f"OK: {proof.ledger.transfers:,} transfers, {proof.ledger.accounts:,} accounts,"
            f" {proof.payments:,} payments; nothing differs.",
            style="green",
            highlight=False,
        )
    else:
        console.print(f"NOT OK: {problems:,} differences.", style="bold red", highlight=False)


def _render_check(check: Check, console: Console) -> None:
    word = "[green]green[/green]" if check.ok else "[bold red]RED[/bold red]"
    name = check.name.replace("_", " ")
    console.print(f"{word}  {name} ({check.looked_at:,} looked at)", highlight=False)
    for finding in check.findings:
        console.print(f"       {finding.sentence}", highlight=False, markup=False, soft_wrap=True)
    hidden = check.problems - len(check.findings)
    if hidden:
        console.print(f"       and {hidden:,} more", highlight=False)


def _programmes(totals: Sequence[ProgrammeTotals]) -> Table:
    table = Table(title="yen", title_justify="left", box=None)
    table.add_column("programme")
    for name in ("issued", "circulating", "redeemed", "expired", "refunded"):
        table.add_column(name, justify="right")
    for one in totals:
        amounts = (
            one.issued_yen,
            one.circulating_yen,
            one.redeemed_yen,
            one.expired_yen,
            one.refunded_yen,
        )
        table.add_row(one.code, *(f"{amount:,}" for amount in amounts))
    return table
