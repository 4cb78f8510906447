"""A replay's report for people."""

from rich.console import Console
from rich.table import Table

from wallet.replay.replay import ReplaySummary


def render_replay(summary: ReplaySummary, console: Console) -> None:
    """Print what was sent, what came of it, and whether it all adds up."""
    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column()
    latency = ", ".join(f"{name} {value:,.1f}" for name, value in summary.latency_ms.items())
    refusals = ", ".join(f"{code} {count:,}" for code, count in summary.refusals.items()) or "none"
    for row in (
        ("payments", f"{summary.payments:,} sent, {summary.paid:,} paid"),
        ("rate", f"{summary.payments_per_s:,.0f} payments/s for {summary.seconds:,.1f} s"),
        ("latency ms", latency),
        ("refusals", refusals),
        ("retries", f"{summary.retries:,}, {summary.unanswered:,} never answered"),
        ("rows of 0 yen", f"{summary.zero_rows:,} left out"),
        ("answers and ledger", "agree" if not summary.problems else "DIFFER"),
        ("ledger verify", "green" if summary.verify.get("ok") else "RED"),
    ):
        table.add_row(*row)
    console.print(table, highlight=False)
    for problem in summary.problems:
        console.print(f"  {problem}", highlight=False, markup=False)
    console.print("OK" if summary.ok else "NOT OK", style="green" if summary.ok else "bold red")
