"""What a run has found, for people as a table and for programs as one JSON object."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import Any, Final

from rich.table import Table

from bench.run import Measured
from bench.till import TillPart

LATE_SHARE_MAX: Final = 0.001
GENERATOR_CPU_SHARE_MAX: Final = 0.9
"""Of one core; beyond it the generator, not the till, may be what was measured."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A figure by its JSON key, what it must reach, and what is aimed at."""

    key: str
    means: str
    must: float
    aim: float | None = None
    at_most: bool = False

    def reached_in_words(self, value: float) -> str:
        """Say what the value reaches."""
        if self.aim is not None and self._reaches(value, self.aim):
            return "reached, and the aim"
        return "reached" if self._reaches(value, self.must) else "NOT reached"

    def bound_in_words(self, bound: float | None) -> str:
        """Say what a bound asks for."""
        return "" if bound is None else f"{'≤' if self.at_most else '≥'} {bound:g}"

    def _reaches(self, value: float, bound: float) -> bool:
        return value <= bound if self.at_most else value >= bound


TARGETS: Final = (
    Target(
        key="ledger_64_over_pgbench",
        means="ledger, 64 requests waiting, transfers/s ÷ pgbench",
        must=4,
        aim=6,
    ),
    Target(key="ledger_hot_over_uniform", means="ledger, one hot account ÷ uniform", must=0.95),
    Target(
        key="till_over_pgbench",
        means="till over HTTP, 64 connections, payments/s ÷ pgbench",
        must=0.7,
        aim=1.0,
    ),
    Target(key="till_hot_over_uniform", means="till, one hot shop ÷ uniform", must=0.95),
    Target(
        key="till_cpu_ms_per_payment",
        means="CPU of till and PostgreSQL for a payment, ms",
        must=0.6,
        aim=0.4,
        at_most=True,
    ),
    Target(
        key="till_p99_ms_at_half_load",
        means="99th percentile at half load, random arrivals, ms",
        must=50,
        at_most=True,
    ),
    Target(key="till_over_orm", means="till ÷ conventional endpoint, one hot shop", must=8),
    Target(
        key="till_p95_storm_over_quiet",
        means="till p95 beside 150 password sign-ins/s ÷ without",
        must=1.2,
        at_most=True,
    ),
    Target(
        key="sign_ins_checked_per_s_and_core",
        means="passwords checked in that storm, a second and core of the gate",
        must=40,
    ),
    Target(
        key="sign_in_refused_p99_ms",
        means="who found no room at the gate heard so within, ms",
        must=50,
        at_most=True,
    ),
    Target(
        key="proof_cpu_ms", means="CPU of verifying a device's proof, ms", must=0.15, at_most=True
    ),
    Target(
        key="step_up_over_plain",
        means="CPU of a payment that its payer had to approve ÷ one by phone",
        must=2,
        at_most=True,
    ),
    Target(
        key="till_rss_mb", means="memory of the till after 100,000 payments, MB", must=200,
        at_most=True,
    ),
)  # fmt: skip


def figures_of(measured: Measured) -> dict[str, Any]:
    """Return every figure by its JSON key; those of a part that was not run are left out."""
    figures: dict[str, Any] = {}
    tps, ledger, till, books = (
        measured.pgbench_tps, measured.ledger, measured.till, measured.books,
    )  # fmt: skip
    if ledger is not None:
        figures |= {
            "ledger_64_over_pgbench": ledger.uniform.per_s / mean(measured.tps_beside_ledger),
            "ledger_hot_over_uniform": ledger.hot.per_s / ledger.uniform.per_s,
            "ledger_uniform_per_s": ledger.uniform.per_s,
            "ledger_hot_per_s": ledger.hot.per_s,
        }
    if till is not None:
        figures |= _figures_of_till(measured, till)
    if measured.storm is not None and measured.storm.sign_ins:
        figures |= {
            "till_p95_storm_over_quiet": measured.storm.p95_ratio,
            "sign_ins_checked_per_s_and_core": measured.storm.checked_per_s_and_core,
            "sign_in_refused_p99_ms": measured.storm.refused_p99_ms,
            "storm_failed_payments": measured.storm.failed_payments,
            "proof_cpu_ms": measured.proof_cpu_ms,
        }
    if measured.step_up is not None:
        figures |= measured.step_up.figures()
    figures |= {
        "pgbench_tps": tps,
        "pgbench_tps_beside_ledger": measured.tps_beside_ledger,
        "pgbench_tps_beside_till": measured.tps_beside_till,
        "fdatasync_us": measured.fdatasync_us,
        "seconds": measured.seconds,
    }
    if books is not None:
        figures |= {
            "errors": books.told.refused + books.told.unanswered,
            "ledger_verified": books.verified,
            "everything_told_is_there": books.complete,
        }
    return {key: _rounded(value) for key, value in figures.items()}


def _figures_of_till(measured: Measured, till: TillPart) -> dict[str, Any]:
    open_loop = measured.open_loop
    figures = {
        "till_over_pgbench": till.uniform.per_s / mean(measured.tps_beside_till),
        "till_hot_over_uniform": till.hot.per_s / till.uniform.per_s,
        "till_cpu_ms_per_payment": till.uniform.cpu_ms,
        "till_over_orm": till.hot.per_s / till.conventional_hot.per_s,
        "till_rss_mb": measured.rss_mb,
        "till_uniform_per_s": till.uniform.per_s,
        "till_hot_per_s": till.hot.per_s,
        "till_hot_cpu_ms_per_payment": till.hot.cpu_ms,
        "orm_hot_per_s": till.conventional_hot.per_s,
        "orm_hot_cpu_ms_per_payment": till.conventional_hot.cpu_ms,
        "till_payments": till.till_payments,
        "generator_cpu_share": max(till.uniform.generator_share, till.hot.generator_share),
    }
    if open_loop is not None:
        figures |= {
            "till_p99_ms_at_half_load": open_loop.p99_ms,
            "till_p50_ms_at_half_load": open_loop.p50_ms,
            "till_p999_ms_at_half_load": open_loop.p999_ms,
            "half_load_per_s": measured.open_rate_per_s,
            "late_starts": open_loop.late_starts,
            "late_share": open_loop.late_starts / max(1, open_loop.answered),
        }
    return figures


def flaws_of(figures: dict[str, Any]) -> list[str]:
    """Return why the figures are not to be trusted, in sentences; empty when they are."""
    checks: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
        ("late_share", lambda share: share > LATE_SHARE_MAX,
         "more than 0.1 % of requests were sent late"),
        ("generator_cpu_share", lambda share: share > GENERATOR_CPU_SHARE_MAX,
         "the generator was saturated"),
        ("errors", lambda count: count > 0, "requests were refused or got no answer"),
        ("ledger_verified", lambda ok: not ok, "the ledger does not add up"),
        ("everything_told_is_there", lambda ok: not ok,
         "what callers were told is not what the database holds"),
    )  # fmt: skip
    return [sentence for key, is_bad, sentence in checks if key in figures and is_bad(figures[key])]


def table_of(figures: dict[str, Any]) -> Table:
    """Return the table for people: what was to be reached, and what was."""
    table = Table("figure", "value", "must", "aim", "")
    for target in TARGETS:
        value = figures.get(target.key)
        if value is not None:
            table.add_row(
                target.means,
                f"{value:,.2f}",
                target.bound_in_words(target.must),
                target.bound_in_words(target.aim),
                target.reached_in_words(value),
            )
    return table


def _rounded(value: Any) -> Any:  # noqa: ANN401 - numbers of either kind, lists of them, truths
    if isinstance(value, float):
        return round(value, 3)
    return [_rounded(one) for one in value] if isinstance(value, list) else value
