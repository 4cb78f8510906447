"""Where each programme's money is: issued = circulating + redeemed + expired + refunded.

What is issued, redeemed, expired and refunded is added up from the transfers that carry the
programme's number; what circulates is what its purses hold. The two never meet in the programme
itself, so money that went astray shows as a difference. Kinds of accounts are told apart by the
chart of accounts (wallet/ledger/chart.py).
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.ledger.chart import (
    ACCOUNT_BUDGET,
    ACCOUNT_CLEARING,
    ACCOUNT_PAYABLE,
    ACCOUNT_PURSE,
)
from wallet.ledger.findings import Check, Finding, Question
from wallet.ledger.rules import ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS

_CHART: Final = {
    "purse": ACCOUNT_PURSE,
    "clearing": ACCOUNT_CLEARING,
    "budget": ACCOUNT_BUDGET,
    "payable": ACCOUNT_PAYABLE,
}

# A transfer moves money when it is not itself a hold or the voiding of one.
_TOTALS: Final = text("""
WITH moved AS (
    SELECT t.user_data_32 AS number, d.code AS from_code, c.code AS to_code,
           sum(t.amount) AS amount_yen
    FROM transfer AS t
    JOIN account AS d ON d.id = t.debit_account_id
    JOIN account AS c ON c.id = t.credit_account_id
    WHERE t.flags & 10 = 0 AND (d.code = :purse OR c.code = :purse)
    GROUP BY 1, 2, 3
), held AS (
    SELECT p.programme_id, sum(b.credits_posted - b.debits_posted) AS amount_yen
    FROM purse AS p JOIN balance AS b ON b.account_id = p.account_id GROUP BY 1
)
SELECT g.code, g.number,
       coalesce(sum(m.amount_yen) FILTER (WHERE from_code IN (:clearing, :budget)), 0)::bigint,
       coalesce(max(h.amount_yen), 0)::bigint,
       coalesce(sum(CASE WHEN to_code = :payable THEN m.amount_yen
                         WHEN from_code = :payable THEN -m.amount_yen END), 0)::bigint,
       coalesce(sum(m.amount_yen) FILTER (WHERE to_code = :budget), 0)::bigint,
       coalesce(sum(m.amount_yen) FILTER (WHERE to_code = :clearing), 0)::bigint
FROM programme AS g
LEFT JOIN moved AS m ON m.number = g.number
LEFT JOIN held AS h ON h.programme_id = g.id
GROUP BY g.id ORDER BY g.number
""")

_TRANSFERS: Final = """
SELECT 'transfer' AS kind, t.id::text AS id, f.what,
       to_jsonb(f.stored) AS stored, to_jsonb(f.computed) AS computed
FROM transfer AS t
JOIN account AS d ON d.id = t.debit_account_id
JOIN account AS c ON c.id = t.credit_account_id
LEFT JOIN purse AS p ON p.account_id = CASE WHEN d.code = :purse THEN d.id ELSE c.id END
LEFT JOIN programme AS g ON g.id = p.programme_id
CROSS JOIN LATERAL (
    SELECT CASE WHEN d.code = :purse THEN c.id ELSE d.id END AS id,
           CASE WHEN d.code = :purse THEN c.code ELSE d.code END AS code
) AS other
CROSS JOIN LATERAL (VALUES
    ('programme', t.user_data_32 = g.number, t.user_data_32::text, g.number::text),
    ('other account''s kind', other.code IN (:purse, :clearing, :budget, :payable),
     other.code::text, 'known to the proof'),
    ('programme''s own account',
     CASE other.code WHEN :clearing THEN other.id = g.clearing_account_id
                     WHEN :budget THEN other.id = g.budget_account_id ELSE true END,
     other.id::text, 'clearing or budget of programme ' || g.number),
    ('purse to purse', other.code <> :purse OR EXISTS (
        SELECT FROM purse AS q WHERE q.account_id = other.id AND q.programme_id = p.programme_id),
     other.id::text, 'purse of programme ' || g.number)
) AS f (what, is_right, stored, computed)
WHERE (d.code = :purse OR c.code = :purse)
  AND NOT (t.user_data_32 = g.number AND other.code = :payable) IS NOT DISTINCT FROM true
  AND f.is_right IS DISTINCT FROM true
"""

# A purse without money is found too: it would take the next payment.
_PURSES: Final = """
SELECT 'account' AS kind, coalesce(p.account_id, a.id)::text AS id, f.what,
       to_jsonb(f.stored) AS stored, to_jsonb(f.computed) AS computed
FROM purse AS p
LEFT JOIN programme AS g ON g.id = p.programme_id
FULL JOIN (SELECT * FROM account WHERE code = :purse) AS a ON a.id = p.account_id
CROSS JOIN LATERAL (VALUES
    ('purse', p.account_id IS NOT NULL, 'missing', 'of a wallet'),
    ('account of a purse', a.id IS NOT NULL, 'missing', 'present'),
    ('guard against overdraft', a.flags & :guard <> 0, 'missing', 'present'),
    ('wallet', a.user_data_128 = p.wallet_id, a.user_data_128::text, p.wallet_id::text),
    ('programme', a.user_data_32 = g.number, a.user_data_32::text, g.number::text)
) AS f (what, is_right, stored, computed)
WHERE (a.user_data_128 = p.wallet_id AND a.user_data_32 = g.number AND a.flags & :guard <> 0)
      IS DISTINCT FROM true
  AND NOT f.is_right
"""

_ACCOUNTS: Final = """
SELECT own.kind, own.id::text AS id, own.what || ' ' || own.account_id AS what,
       to_jsonb(a.code) AS stored, to_jsonb(own.code) AS computed
FROM (
    SELECT 'programme' AS kind, id, 'clearing account' AS what, clearing_account_id AS account_id,
           CAST(:clearing AS int) AS code FROM programme
    UNION ALL
    SELECT 'programme', id, 'budget account', budget_account_id, :budget FROM programme
    UNION ALL
    SELECT 'shop', id, 'payable account', payable_account_id, :payable FROM shop
) AS own
LEFT JOIN account AS a ON a.id = own.account_id
WHERE a.code IS DISTINCT FROM own.code
UNION ALL
SELECT 'programme', g.id::text, 'guard of the budget', to_jsonb(a.flags), to_jsonb(a.flags | :guard)
FROM programme AS g JOIN account AS a ON a.id = g.budget_account_id WHERE a.flags & :guard = 0
"""


class ProgrammeTotals(msgspec.Struct, frozen=True):
    """A programme's money in yen. ``expired`` went back to the budget, ``refunded`` to buyers."""

    code: str
    number: int
    issued_yen: int
    circulating_yen: int
    redeemed_yen: int
    expired_yen: int
    refunded_yen: int

    @property
    def difference_yen(self) -> int:
        """What is missing of what was issued; negative when there is more than was issued."""
        out_yen = self.redeemed_yen + self.expired_yen + self.refunded_yen
        return self.issued_yen - self.circulating_yen - out_yen


async def add_up(connection: AsyncConnection) -> list[ProgrammeTotals]:
    """Return the totals of every programme, by number."""
    return [ProgrammeTotals(*row) for row in await connection.execute(_TOTALS, _CHART)]


def check_totals(totals: Sequence[ProgrammeTotals]) -> Check:
    """Check that what was issued is somewhere, programme by programme."""
    findings = [
        Finding(
            "programme",
            one.code,
            "circulating against issued - redeemed - expired - refunded",
            one.circulating_yen,
            one.circulating_yen + one.difference_yen,
        )
        for one in totals
        if one.difference_yen
    ]
    return Check("issued_money_is_somewhere", len(totals), len(findings), findings)


def questions() -> list[Question]:
    """Return what is asked of purses, of programmes' accounts and of their transfers."""
    kinds: dict[str, Any] = {**_CHART, "guard": ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS}
    return [
        _question("transfers_carry_their_programme", "transfers", _TRANSFERS, kinds),
        _question("purses_are_guarded", "purses", _PURSES, kinds),
        _question("accounts_are_what_they_stand_for", "shops_and_programmes", _ACCOUNTS, kinds),
    ]


def _question(name: str, looked_at: str, sql: str, kinds: dict[str, Any]) -> Question:
    """Ask with those of the kinds that the query names."""
    return Question(name, looked_at, sql, {k: v for k, v in kinds.items() if f":{k}" in sql})
