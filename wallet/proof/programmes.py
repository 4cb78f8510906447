"""Where each programme's money is: issued = circulating + redeemed + expired + refunded.

What is issued, redeemed, expired and refunded is added up from the transfers that carry the
programme's number; what circulates is what its purses hold. The two never meet in the programme
itself, so money that went astray shows as a difference. Kinds of accounts are told apart by the
chart of accounts (wallet/ledger/chart.py), and each kind of transfer leads between those that it is
for (wallet/proof/flows.py).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.ledger.chart import (
    ACCOUNT_BONUS_RESERVE,
    ACCOUNT_BUDGET,
    ACCOUNT_CASH_OUT,
    ACCOUNT_CLEARING,
    ACCOUNT_PAYABLE,
    ACCOUNT_PURSE,
    ACCOUNT_RECEIPTS,
    ACCOUNT_SUSPENSE,
    TRANSFER_COUPON,
    TRANSFER_EXPIRY,
    TRANSFER_GIFT,
    TRANSFER_REFUND,
)
from wallet.ledger.findings import Check, Finding, Question
from wallet.ledger.rules import ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS
from wallet.proof.flows import (
    FOR_A_WALLET,
    LOOKED_INTO,
    PROGRAMMES_OWN,
    flows_as_values,
    listed,
)

_CHART: Final = {
    "purse": ACCOUNT_PURSE,
    "clearing": ACCOUNT_CLEARING,
    "budget": ACCOUNT_BUDGET,
    "reserve": ACCOUNT_BONUS_RESERVE,
    "payable": ACCOUNT_PAYABLE,
    "receipts": ACCOUNT_RECEIPTS,
    "suspense": ACCOUNT_SUSPENSE,
    "cash_out": ACCOUNT_CASH_OUT,
    "coupon": TRANSFER_COUPON,
    "refund": TRANSFER_REFUND,
    "expiry": TRANSFER_EXPIRY,
    "gift": TRANSFER_GIFT,
}

# A transfer moves money when it is not itself a hold or the voiding of one. What a budget pays a
# shop for a coupon is issued and redeemed at once. What a shop gives back of a purse whose last day
# is over expires then and there. What shops do with their takings is no programme's.
_TOTALS: Final = """
WITH moved AS (
    SELECT t.user_data_32 AS number, t.code, d.code AS from_code, c.code AS to_code,
           sum(t.amount) AS amount_yen
    FROM transfer AS t
    JOIN account AS d ON d.id = t.debit_account_id
    JOIN account AS c ON c.id = t.credit_account_id
    WHERE t.flags & 10 = 0
      AND (d.code = :purse OR c.code = :purse OR t.code IN (:coupon, :refund))
    GROUP BY 1, 2, 3, 4
), held AS (
    SELECT p.programme_id, sum(b.credits_posted - b.debits_posted) AS amount_yen
    FROM purse AS p JOIN balance AS b ON b.account_id = p.account_id GROUP BY 1
)
SELECT g.code, g.number,
       coalesce(sum(m.amount_yen) FILTER (WHERE from_code IN (:clearing, :budget, :reserve)),
                0)::bigint,
       coalesce(max(h.amount_yen), 0)::bigint,
       coalesce(sum(CASE WHEN to_code = :payable THEN m.amount_yen
                         WHEN from_code = :payable THEN -m.amount_yen END), 0)::bigint,
       coalesce(sum(m.amount_yen) FILTER (WHERE to_code = :budget AND m.code IN (:expiry, :refund)),
                0)::bigint,
       coalesce(sum(m.amount_yen) FILTER (WHERE to_code = :clearing
                OR to_code = :budget AND m.code NOT IN (:expiry, :refund)), 0)::bigint
FROM programme AS g
LEFT JOIN moved AS m ON m.number = g.number
LEFT JOIN held AS h ON h.programme_id = g.id
GROUP BY g.id ORDER BY g.number
"""

# Money that a holder has paid for comes from clearing and goes back there, and what the city has
# added comes from a budget; only what is left after a purse's last day goes to the budget whoever
# has paid for it. From purse to purse money keeps its class, and only paid money is given away.
# A hold and its voiding move nothing, so they may name an account that nothing is posted to.
_TRANSFERS: Final = f"""
SELECT 'transfer' AS kind, t.id::text AS id, f.what,
       to_jsonb(f.stored) AS stored, to_jsonb(f.computed) AS computed
FROM transfer AS t
JOIN account AS d ON d.id = t.debit_account_id
JOIN account AS c ON c.id = t.credit_account_id
LEFT JOIN (VALUES {flows_as_values()}) AS flow (code, from_code, to_code)
    ON flow.code = t.code AND flow.from_code = d.code AND flow.to_code = c.code
LEFT JOIN purse AS p ON p.account_id = d.id
LEFT JOIN purse AS q ON q.account_id = c.id
CROSS JOIN LATERAL (SELECT
    flow.code IS NOT NULL OR t.flags & 10 <> 0 AS is_flow,
    (d.code NOT IN ({listed(PROGRAMMES_OWN)}) OR d.user_data_32 = t.user_data_32)
    AND (c.code NOT IN ({listed(PROGRAMMES_OWN)}) OR c.user_data_32 = t.user_data_32)
        AS is_of_programme,
    CASE WHEN d.code = :clearing THEN q.funding = 'paid'
         WHEN c.code = :clearing AND d.code = :purse THEN p.funding = 'paid'
         WHEN c.code = :purse AND d.code IN (:budget, :reserve) THEN q.funding <> 'paid'
         WHEN c.code = :budget AND d.code = :purse AND t.code <> :expiry THEN p.funding <> 'paid'
         WHEN c.code = :purse AND d.code = :purse
         THEN p.funding = q.funding AND (t.code <> :gift OR p.funding = 'paid')
         ELSE true END AS is_in_class,
    t.code NOT IN ({listed(FOR_A_WALLET)}) OR t.user_data_128 = p.wallet_id
    OR t.user_data_128 = q.wallet_id AS is_of_wallet
) AS it
CROSS JOIN LATERAL (VALUES
    ('kinds of accounts', is_flow, d.code || ' to ' || c.code || ' by ' || t.code,
     'one of the flows'),
    ('programme', is_of_programme, t.user_data_32::text,
     concat_ws(' to ', nullif(d.user_data_32, 0), nullif(c.user_data_32, 0))),
    ('class of money', is_in_class, concat_ws(' to ', p.funding, q.funding), 'of its flow'),
    ('wallet', is_of_wallet, t.user_data_128::text, concat_ws(' or ', p.wallet_id, q.wallet_id))
) AS f (what, is_right, stored, computed)
WHERE (d.code IN ({listed(LOOKED_INTO)}) OR c.code IN ({listed(LOOKED_INTO)}))
  AND (is_flow AND is_of_programme AND is_in_class AND is_of_wallet) IS DISTINCT FROM true
  AND f.is_right IS DISTINCT FROM true
"""  # noqa: S608 - numbers of the chart

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
UNION ALL
SELECT 'account', a.id::text, 'guard of the reserve', to_jsonb(a.flags), to_jsonb(a.flags | :guard)
FROM account AS a WHERE a.code = :reserve AND a.flags & :guard = 0
UNION ALL
SELECT 'account', a.id::text, 'programme of an account of kind ' || a.code,
       to_jsonb(a.user_data_32), to_jsonb(g.number)
FROM account AS a
LEFT JOIN programme AS g ON a.id IN (g.clearing_account_id, g.budget_account_id)
    OR a.code = :reserve AND g.number = a.user_data_32
WHERE a.code IN (:clearing, :budget, :reserve) AND g.number IS DISTINCT FROM a.user_data_32
"""

# Nothing limits these accounts, or not from this side, so that a busy one is not locked; yet no
# more can leave suspense than has come, and a provider cannot have been given back what it never
# took.
_SIDES: Final = """
SELECT 'account' AS kind, b.account_id::text AS id, 'side of an account of kind ' || b.code AS what,
       to_jsonb(b.credits_posted - b.debits_posted) AS stored,
       to_jsonb(CASE WHEN b.code = :receipts THEN 'debit' ELSE 'credit' END) AS computed
FROM balance AS b
WHERE b.code IN (:suspense, :cash_out, :reserve) AND b.credits_posted < b.debits_posted
   OR b.code = :receipts AND b.debits_posted < b.credits_posted
"""


ON_ONE_SIDE: Final = (ACCOUNT_RECEIPTS, ACCOUNT_SUSPENSE, ACCOUNT_BONUS_RESERVE, ACCOUNT_CASH_OUT)
"""Kinds of accounts whose balance is never on the other side than it is meant to be."""


class ProgrammeTotals(msgspec.Struct, frozen=True):
    """A programme's money in yen.

    ``expired`` went to the budget because its last day was over; ``refunded`` went back before that
    to where it had come from: to buyers, or to the budget as a mistake, an exchange or a bonus
    that was taken back.
    """

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
    return [ProgrammeTotals(*row) for row in await _execute(connection)]


async def _execute(connection: AsyncConnection) -> Sequence[Any]:
    return (await connection.execute(text(_TOTALS), _kinds_in(_TOTALS, _CHART))).all()


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
        _question("accounts_are_on_their_side", "city_accounts", _SIDES, kinds),
    ]


def _question(name: str, looked_at: str, sql: str, kinds: dict[str, Any]) -> Question:
    return Question(name, looked_at, sql, _kinds_in(sql, kinds))


def _kinds_in(sql: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the kinds that a query names."""
    return {name: value for name, value in kinds.items() if re.search(rf":{name}\b", sql)}
