"""Whether what providers reported, what was asked for and what was bought agree with the ledger.

The transfers of a receipt have its id and numbers after it: for its order 1 to 7, into suspense 8,
out of it 9 to 15. Those of a purchase's issue have the purchase's id.
"""

from typing import Any, Final

from wallet.ledger.chart import (
    TRANSFER_ISSUE,
    TRANSFER_RECEIPT,
    TRANSFER_SUSPENDED,
    TRANSFER_SUSPENSE_SETTLED,
)
from wallet.ledger.findings import Question

_RECEIPTS: Final = """
SELECT 'receipt' AS kind, coalesce(r.id, moved.id)::text AS id, f.what,
       to_jsonb(f.stored) AS stored, to_jsonb(f.computed) AS computed
FROM receipt AS r
FULL JOIN (
    SELECT (left(id::text, 35) || '0')::uuid AS id,
           sum(amount) FILTER (WHERE code = :receipt) AS matched_yen,
           sum(amount) FILTER (WHERE code = :suspended) AS suspended_yen,
           sum(amount) FILTER (WHERE code = :settled) AS settled_yen
    FROM transfer WHERE code IN (:receipt, :suspended, :settled) GROUP BY 1
) AS moved ON moved.id = r.id
LEFT JOIN LATERAL (
    SELECT r.suspended_yen * count(*) AS yen FROM suspense_settlement_receipt AS i
    JOIN suspense_settlement AS s ON s.id = i.settlement_id
    WHERE i.receipt_id = r.id AND s.state = 'done'
) AS settled ON true
CROSS JOIN LATERAL (VALUES
    ('yen for its order', coalesce(moved.matched_yen, 0),
     coalesce(r.amount_yen - r.suspended_yen, 0)),
    ('yen in suspense', coalesce(moved.suspended_yen, 0), coalesce(r.suspended_yen, 0)),
    ('yen out of suspense', coalesce(moved.settled_yen, 0), coalesce(settled.yen, 0))
) AS f (what, stored, computed)
WHERE f.stored <> f.computed
"""

_ORDERS: Final = """
SELECT 'receipt order' AS kind, coalesce(asked.id, paid.id)::text AS id,
       'yen for programme ' || coalesce(asked.number, paid.number) AS what,
       to_jsonb(coalesce(paid.yen, 0)) AS stored, to_jsonb(coalesce(asked.yen, 0)) AS computed
FROM (
    SELECT o.id, g.number, CASE WHEN o.state = 'paid' THEN (share->>1)::bigint ELSE 0 END AS yen
    FROM receipt_order AS o CROSS JOIN LATERAL jsonb_array_elements(o.shares) AS share
    JOIN programme AS g ON g.id = (share->>0)::uuid
) AS asked
FULL JOIN (
    SELECT user_data_128 AS id, user_data_32 AS number, sum(amount) AS yen FROM transfer
    WHERE code IN (:receipt, :settled) AND user_data_32 > 0 GROUP BY 1, 2
) AS paid ON paid.id = asked.id AND paid.number = asked.number
WHERE coalesce(paid.yen, 0) <> coalesce(asked.yen, 0)
"""

# Between the issue and the note of it a purchase is still reserved.
_PURCHASES: Final = """
SELECT 'purchase' AS kind, p.id::text AS id, 'yen issued' AS what,
       to_jsonb(coalesce(moved.yen, 0)) AS stored,
       to_jsonb(CASE WHEN p.state = 'issued' THEN p.face_yen ELSE 0 END) AS computed
FROM purchase AS p
LEFT JOIN (
    SELECT (left(id::text, 35) || '0')::uuid AS id, sum(amount) AS yen
    FROM transfer WHERE code = :issue GROUP BY 1
) AS moved ON moved.id = p.id
WHERE CASE p.state WHEN 'issued' THEN coalesce(moved.yen, 0) <> p.face_yen
                   WHEN 'reserved' THEN coalesce(moved.yen, 0) NOT IN (0, p.face_yen)
                   ELSE moved.yen IS NOT NULL END
UNION ALL
SELECT 'stock', s.programme_id::text, f.what, to_jsonb(f.stored), to_jsonb(f.computed)
FROM stock AS s
LEFT JOIN (
    SELECT programme_id, sum(units) FILTER (WHERE state = 'reserved') AS reserved,
           sum(units) FILTER (WHERE state = 'issued') AS sold
    FROM purchase GROUP BY 1
) AS p ON p.programme_id = s.programme_id
CROSS JOIN LATERAL (VALUES
    ('units reserved', s.units_reserved, coalesce(p.reserved, 0)),
    ('units sold', s.units_sold, coalesce(p.sold, 0))
) AS f (what, stored, computed)
WHERE f.stored <> f.computed
UNION ALL
SELECT 'receipt order', o.id::text, 'state of its purchase', to_jsonb(p.state),
       to_jsonb('issued'::text)
FROM receipt_order AS o LEFT JOIN purchase AS p ON p.id = o.reference_id
WHERE o.purpose = 'voucher' AND o.settled_at IS NOT NULL AND p.state IS DISTINCT FROM 'issued'
"""


def questions() -> list[Question]:
    """Return what is asked of receipts, of orders, and of what was bought."""
    kinds: dict[str, Any] = {"receipt": TRANSFER_RECEIPT, "settled": TRANSFER_SUSPENSE_SETTLED}
    return [
        Question(
            "receipts_moved_their_amount",
            "receipts",
            _RECEIPTS,
            {**kinds, "suspended": TRANSFER_SUSPENDED},
        ),
        Question("orders_were_paid_in_full", "orders", _ORDERS, kinds),
        Question("what_is_sold_was_bought", "purchases", _PURCHASES, {"issue": TRANSFER_ISSUE}),
    ]
