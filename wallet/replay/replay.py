"""Replay a file of payments through the running API, and prove what came of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from rich.progress import Progress
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import Clock
from wallet.core.refusals import RefusedError
from wallet.ledger.bulk import bulk_teller
from wallet.proof import prove
from wallet.replay.prepare import Preparer, prepare
from wallet.replay.prove import find_problems
from wallet.replay.read_payments import read_payments
from wallet.replay.send import Outcome, Sending, check_server, send

BASE_URL: Final = "http://127.0.0.1:8000"
CONCURRENCY: Final = 64
CONCURRENCY_MAX: Final = 1_000

EXPECTED_REFUSALS: Final = frozenset({"balance_insufficient", "counter_only", "service_stopped"})
"""What may be answered when all is well: somebody was left short, an amount is one that no till
takes, or somebody pulled the stop."""


@dataclass(frozen=True, kw_only=True)
class ReplaySummary:
    """What came of a replay.

    ``ok`` is True when every payment was answered, with nothing worse than an expected refusal,
    the tables say what the answers said (``problems`` is empty), and the ledger verifies.
    """

    ok: bool
    payments: int
    paid: int
    unanswered: int
    retries: int
    zero_rows: int
    seconds: float
    payments_per_s: float
    latency_ms: dict[str, float]
    refusals: dict[str, int]
    problems: list[str]
    verify: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the summary for ``--json``."""
        return {
            "ok": self.ok,
            "payments": self.payments,
            "paid": self.paid,
            "unanswered": self.unanswered,
            "retries": self.retries,
            "zero_rows": self.zero_rows,
            "seconds": round(self.seconds, 3),
            "payments_per_s": round(self.payments_per_s, 1),
            "latency_ms": self.latency_ms,
            "refusals": self.refusals,
            "problems": self.problems,
            "verify": self.verify,
        }


async def replay(  # noqa: PLR0913 - a replay has this many knobs, each with its default
    path: Path,
    *,
    engine: AsyncEngine,
    database_url: str,
    pepper: bytes,
    livemode: bool,
    clock: Clock,
    progress: Progress,
    payments_max: int | None = None,
    concurrency: int = CONCURRENCY,
    short_every: int = 0,
    base_url: str = BASE_URL,
) -> ReplaySummary:
    """Replay the file: read it, prepare wallets and shops, send, and prove.

    Nothing is sent when a row of the file is bad. Raises :class:`RefusedError`
    ``replay_in_live_mode``, ``replay_file_invalid``, ``concurrency_invalid``,
    ``server_unreachable`` or ``server_of_another_city``.
    """
    if livemode:
        raise RefusedError("replay_in_live_mode")
    if not 1 <= concurrency <= CONCURRENCY_MAX:
        raise RefusedError("concurrency_invalid", concurrency_max=CONCURRENCY_MAX)
    recording = read_payments(path, payments_max=payments_max)
    async with bulk_teller(database_url, clock=clock) as teller:
        preparer = Preparer(engine, teller, pepper, livemode, clock, progress)
        scene = await prepare(preparer, payments=recording.payments, short_every=short_every)
    sending = Sending(engine, pepper, clock, base_url, concurrency, progress)
    await check_server(sending, scene)
    begun_s = perf_counter()
    outcomes = await send(sending, payments=recording.payments, scene=scene)
    seconds = perf_counter() - begun_s
    problems = await find_problems(engine, merchant_ids=scene.merchant_ids, outcomes=outcomes)
    proof = await prove(engine, now_us=clock())
    return summarise(
        outcomes,
        seconds=seconds,
        zero_rows=recording.zero_rows,
        problems=problems,
        verified=proof.ok,
        verify_report=proof.as_dict(),
    )


def summarise(
    outcomes: Sequence[Outcome],
    *,
    seconds: float,
    zero_rows: int,
    problems: list[str],
    verified: bool,
    verify_report: dict[str, Any],
) -> ReplaySummary:
    """Return the summary of what was answered and what was proved."""
    refusals = Counter(outcome.refusal for outcome in outcomes if outcome.refusal is not None)
    unanswered = sum(not outcome.answered for outcome in outcomes)
    expected = EXPECTED_REFUSALS.issuperset(refusals)
    answered = len(outcomes) - unanswered
    return ReplaySummary(
        ok=verified and expected and not problems and not unanswered,
        payments=len(outcomes),
        paid=sum(outcome.paid for outcome in outcomes),
        unanswered=unanswered,
        retries=sum(outcome.retries for outcome in outcomes),
        zero_rows=zero_rows,
        seconds=seconds,
        payments_per_s=answered / seconds if seconds else 0.0,
        latency_ms=latencies([outcome.latency_ms for outcome in outcomes]),
        refusals=dict(refusals.most_common()),
        problems=problems,
        verify=verify_report,
    )


def latencies(values_ms: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99 and max by the nearest-rank method, in milliseconds."""
    if not values_ms:
        return {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    ordered = sorted(values_ms)
    ranks = {f"p{percent}": -(-len(ordered) * percent // 100) - 1 for percent in (50, 95, 99)}
    ranks["max"] = len(ordered) - 1
    return {name: round(ordered[rank], 2) for name, rank in ranks.items()}
