"""Prove: the ledger, and everything above it that is about money, at one moment."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.ledger.findings import Check, ask, snapshot
from wallet.ledger.verify import LedgerReport, immutable, verify_snapshot
from wallet.ledger.verify_seals import SealReport, verify_seals_snapshot
from wallet.proof import bonuses, paper, payments, points, programmes, receipts, refunds
from wallet.proof.programmes import ProgrammeTotals

IMMUTABLE_TABLES: Final = (
    *("payment", "refund", "idempotency_key", "outbox", "stop_event"),
    *("attendance", "exchange", "receipt", "suspense_settlement_receipt"),
)

_COUNTS: Final = text("""
SELECT (SELECT count(*) FROM payment) AS payments,
       (SELECT count(*) FROM idempotency_key) AS keys,
       (SELECT count(*) FROM one_time_code) AS codes,
       (SELECT count(*) FROM pending_payment) AS waiting,
       (SELECT count(*) FROM step_up WHERE operation = 'shop') AS approvals,
       (SELECT count(*) FROM refund) AS refunds,
       (SELECT count(*) FROM gift) AS gifts,
       (SELECT count(*) FROM bonus_grant) + (SELECT count(*) FROM bonus_due) AS bonuses,
       (SELECT count(*) FROM coupon_use) AS coupons,
       (SELECT count(*) FROM attendance) + (SELECT count(*) FROM exchange)
       + (SELECT count(*) FROM charge) + (SELECT count(*) FROM takings_order) AS points,
       (SELECT count(*) FROM receipt) AS receipts,
       (SELECT count(*) FROM receipt_order) AS orders,
       (SELECT count(*) FROM purchase) AS purchases,
       (SELECT count(*) FROM paper_serial) AS booklets,
       (SELECT count(*) FROM paper_use) AS sheets,
       (SELECT count(*) FROM card_replacement) AS replacements,
       (SELECT count(*) FROM purse) AS purses,
       (SELECT count(*) FROM spending) AS holders,
       (SELECT count(*) FROM account WHERE code = ANY(:city)) AS city_accounts,
       (SELECT count(*) FROM shop) + (SELECT count(*) FROM programme) AS shops_and_programmes
""")


class Proof(msgspec.Struct, frozen=True):
    """What was proved. ``seals`` is None when they were not asked for."""

    ledger: LedgerReport
    payments: int
    programmes: Sequence[ProgrammeTotals]
    city: Sequence[Check]
    seals: SealReport | None

    @property
    def ok(self) -> bool:
        """Whether nothing differs anywhere."""
        return all(check.ok for check in self.checks)

    @property
    def checks(self) -> list[Check]:
        """Every check, from the ledger up."""
        return [*self.ledger.checks, *self.city, *(self.seals.checks if self.seals else ())]

    def as_dict(self) -> dict[str, Any]:
        """Return the proof for ``--json``."""
        return {
            "ok": self.ok,
            "payments": self.payments,
            "programmes": [msgspec.structs.asdict(one) for one in self.programmes],
            "ledger": self.ledger.as_dict(),
            "city": [check.as_dict() for check in self.city],
            "seals": None if self.seals is None else self.seals.as_dict(),
        }


async def prove(
    engine: AsyncEngine,
    *,
    now_us: int,
    seals: bool = False,
    published: Mapping[int, bytes] | None = None,
) -> Proof:
    """Prove everything in one snapshot; with ``seals`` the chain of hashes as well.

    ``published`` are hashes of seals by number, as they are known from elsewhere.
    """
    async with snapshot(engine) as connection:
        return await prove_snapshot(connection, now_us=now_us, seals=seals, published=published)


async def prove_snapshot(
    connection: AsyncConnection,
    *,
    now_us: int,
    seals: bool = False,
    published: Mapping[int, bytes] | None = None,
) -> Proof:
    """Prove what ``connection``, from :func:`~wallet.ledger.findings.snapshot`, sees."""
    ledger = await verify_snapshot(connection, now_us=now_us)
    totals = await programmes.add_up(connection)
    payment_count, city = await _check_city(connection, ledger, totals)
    # Last, for it changes the way in which transfers are read.
    report = await verify_seals_snapshot(connection, published=published or {}) if seals else None
    return Proof(ledger, payment_count, totals, city, report)


async def _check_city(
    connection: AsyncConnection, ledger: LedgerReport, totals: Sequence[ProgrammeTotals]
) -> tuple[int, list[Check]]:
    """Return the number of payments and the checks of everything above the ledger."""
    row = (await connection.execute(_COUNTS, {"city": list(programmes.ON_ONE_SIDE)})).one()
    counts = {
        **row._mapping,  # noqa: SLF001 - its documented way to a dict
        "transfers": ledger.transfers,
        "tables": len(IMMUTABLE_TABLES),
    }
    asked = [
        *programmes.questions(),
        *payments.questions(),
        *refunds.questions(),
        *bonuses.questions(),
        *points.questions(),
        *receipts.questions(),
        *paper.questions(),
        immutable("records_cannot_change", IMMUTABLE_TABLES),
    ]
    checks = await ask(connection, asked, counts=counts)
    return row.payments, [programmes.check_totals(totals), *checks]
