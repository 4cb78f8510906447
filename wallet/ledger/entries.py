"""What every transfer does to each of its two accounts, as SQL: the ledger's replay.

A hold's expiry leaves no transfer; it is an entry too, at the moment the hold was released.
"""

from typing import Final

# Of one side; {side} gains what moved, as both its pending and its posted counter.
_SIDE: Final = """
SELECT t.{side}_account_id AS account_id, '{side}' AS side, t.timestamp, 1 AS transfers,
       t.id AS transfer_id, {columns}
FROM transfer AS t
LEFT JOIN (SELECT id, amount FROM transfer WHERE flags & 2 <> 0) AS hold ON hold.id = t.pending_id
UNION ALL
SELECT t.{side}_account_id, '{side}', h.resolved_at, 0, t.id, {expired}
FROM pending_transfer AS h JOIN transfer AS t ON t.id = h.transfer_id
WHERE h.state = 'expired'
"""

# 2 is a hold, 4 posts one, 8 voids one; see wallet/ledger/rules.py.
_PENDING: Final = """
CASE WHEN t.flags & 2 <> 0 THEN t.amount
     WHEN t.flags & 12 <> 0 THEN -coalesce(hold.amount, 0) ELSE 0 END
"""
_POSTED: Final = "CASE WHEN t.flags & 10 = 0 THEN t.amount ELSE 0 END"

_DEBITS: Final = _SIDE.format(
    side="debit",
    columns=f"{_PENDING} AS debits_pending, {_POSTED} AS debits_posted,"
    " 0 AS credits_pending, 0 AS credits_posted",
    expired="-t.amount, 0, 0, 0",
)
_CREDITS: Final = _SIDE.format(
    side="credit",
    columns=f"0 AS debits_pending, 0 AS debits_posted,"
    f" {_PENDING} AS credits_pending, {_POSTED} AS credits_posted",
    expired="0, 0, -t.amount, 0",
)

ENTRIES: Final = f"{_DEBITS} UNION ALL {_CREDITS}"
"""A query of ``account_id``, ``side``, ``timestamp``, ``transfers`` (1, or 0 for an expiry),
``transfer_id``, and what is added to ``debits_pending``, ``debits_posted``, ``credits_pending``
and ``credits_posted``. In the order of (``timestamp``, ``transfers``) the entries of an account
that is locked by those who change it come as they happened."""
