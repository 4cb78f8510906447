"""Whether what came back agrees with what was paid, and purses with the day they end.

A refund's transfers have its id and the numbers of those of the payment that they give back.
"""

from typing import Any, Final

from wallet.ledger.chart import ACCOUNT_PAYABLE, TRANSFER_COUPON, TRANSFER_PAYMENT, TRANSFER_REFUND
from wallet.ledger.findings import Question

_RETURNED: Final = """
    SELECT t.id, t.user_data_128 AS refund_id, t.debit_account_id, t.credit_account_id, t.amount,
           t.user_data_32
    FROM transfer AS t JOIN account AS d ON d.id = t.debit_account_id
    WHERE t.code IN (:refund, :coupon) AND d.code = :payable AND t.flags & 10 = 0
"""

_AMOUNTS: Final = f"""
SELECT 'refund' AS kind, coalesce(r.id, legs.refund_id)::text AS id,
       CASE WHEN r.id IS NULL THEN 'refund of legs' ELSE 'yen given back' END AS what,
       to_jsonb(coalesce(legs.moved_yen, 0)) AS stored,
       to_jsonb(coalesce(r.amount_yen, 0)) AS computed
FROM refund AS r
FULL JOIN (
    SELECT refund_id, sum(amount) AS moved_yen FROM ({_RETURNED}) AS one GROUP BY 1
) AS legs ON legs.refund_id = r.id
WHERE coalesce(legs.moved_yen, 0) IS DISTINCT FROM r.amount_yen
"""  # noqa: S608 - a part of ours

# Ids end in the number: what is given back of a leg is the payment's transfer of the same number.
_LEGS: Final = f"""
SELECT 'transfer' AS kind, t.id::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM ({_RETURNED}) AS t
JOIN refund AS r ON r.id = t.refund_id
LEFT JOIN transfer AS o ON o.id = (left(r.payment_id::text, 35) || right(t.id::text, 1))::uuid
    AND o.code IN (:payment, :coupon)
LEFT JOIN purse AS p ON p.account_id = o.debit_account_id
LEFT JOIN purse AS q ON q.account_id = t.credit_account_id
LEFT JOIN programme AS g ON g.budget_account_id = t.credit_account_id
CROSS JOIN LATERAL (VALUES
    ('leg that it gives back', o.id IS NOT NULL, 'missing', 'present'),
    ('payer of the refund', t.debit_account_id = o.credit_account_id,
     t.debit_account_id::text, o.credit_account_id::text),
    ('programme', t.user_data_32 = o.user_data_32, t.user_data_32::text, o.user_data_32::text),
    ('holder and class of money',
     t.credit_account_id = o.debit_account_id
     OR q.wallet_id = p.wallet_id AND q.funding = p.funding AND q.programme_id = p.programme_id
     OR g.number = o.user_data_32,
     t.credit_account_id::text, o.debit_account_id::text)
) AS f (what, is_right, stored, computed)
WHERE f.is_right IS DISTINCT FROM true
"""  # noqa: S608 - a part of ours

_BOUNDS: Final = f"""
SELECT 'transfer' AS kind, o.id::text AS id, 'yen given back of it' AS what,
       to_jsonb(sum(t.amount)) AS stored, to_jsonb('at most ' || o.amount) AS computed
FROM ({_RETURNED}) AS t
JOIN refund AS r ON r.id = t.refund_id
JOIN transfer AS o ON o.id = (left(r.payment_id::text, 35) || right(t.id::text, 1))::uuid
GROUP BY o.id, o.amount HAVING sum(t.amount) > o.amount
"""  # noqa: S608 - a part of ours

_EVENTS: Final = """
SELECT 'refund' AS kind, coalesce(r.id, told.event_id)::text AS id, 'events' AS what,
       to_jsonb(coalesce(told.times, 0)) AS stored, to_jsonb((r.id IS NOT NULL)::int) AS computed
FROM refund AS r
FULL JOIN (
    SELECT event_id, count(*) AS times FROM outbox WHERE kind = 'payment.refunded' GROUP BY event_id
) AS told ON told.event_id = r.id
WHERE (told.times = 1 AND r.id IS NOT NULL) IS DISTINCT FROM true
"""

# A purse that has ended is not looked at by the worker again: money in it would be nobody's.
_ENDED: Final = """
SELECT 'purse' AS kind, p.account_id::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM purse AS p JOIN balance AS b ON b.account_id = p.account_id
CROSS JOIN LATERAL (VALUES
    ('yen in a purse that has ended', (b.credits_posted - b.debits_posted)::text, '0'),
    ('holds on a purse that has ended', (b.credits_pending + b.debits_pending)::text, '0'),
    ('that its last day was over',
     (p.expires_on < (p.ended_at AT TIME ZONE INTERVAL '9 hours')::date)::text, 'true')
) AS f (what, stored, computed)
WHERE p.ended_at IS NOT NULL AND f.stored <> f.computed
"""


def questions() -> list[Question]:
    """Return what is asked of refunds and of purses that have ended."""
    returned: dict[str, Any] = {
        "refund": TRANSFER_REFUND,
        "coupon": TRANSFER_COUPON,
        "payable": ACCOUNT_PAYABLE,
    }
    return [
        Question("refunds_gave_back_their_amount", "refunds", _AMOUNTS, returned),
        Question(
            "refunds_go_back_where_it_came_from",
            "refunds",
            _LEGS,
            {**returned, "payment": TRANSFER_PAYMENT},
        ),
        Question("refunds_are_no_more_than_was_paid", "refunds", _BOUNDS, returned),
        Question("refunds_are_told_once", "refunds", _EVENTS),
        Question("ended_purses_are_empty", "purses", _ENDED),
    ]
