"""Whether bonuses and coupons agree with the transfers that gave them, and reserves with promises.

A bonus has the id of its transfer: 12 or 13 after its payment's or event's, two more as it vests.
"""

from typing import Any, Final

from wallet.ledger.chart import (
    ACCOUNT_BONUS_RESERVE,
    ACCOUNT_BUDGET,
    TRANSFER_BONUS,
    TRANSFER_BONUS_RESERVED,
    TRANSFER_COUPON,
)
from wallet.ledger.findings import Question

_CHART: Final[dict[str, Any]] = {
    "bonus": TRANSFER_BONUS,
    "reserved": TRANSFER_BONUS_RESERVED,
    "budget": ACCOUNT_BUDGET,
}

# Every promise is one of these rows; a bonus that was given at once by another room is that room's.
_GRANTS: Final = """
SELECT 'bonus' AS kind, coalesce(b.id, t.id)::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM bonus_grant AS b
LEFT JOIN programme AS g ON g.id = b.programme_id
FULL JOIN (
    SELECT t.* FROM transfer AS t JOIN account AS d ON d.id = t.debit_account_id
    WHERE t.code = :reserved OR t.code = :bonus AND d.code = :budget
      AND right(t.id::text, 1) IN ('c', 'd')
) AS t ON t.id = b.id
CROSS JOIN LATERAL (VALUES
    ('transfer of the bonus', (t.id IS NOT NULL)::text, (b.id IS NOT NULL)::text),
    ('yen', b.amount_yen::text, t.amount::text),
    ('wallet', b.wallet_id::text, t.user_data_128::text),
    ('programme', g.number::text, t.user_data_32::text),
    ('that it was set aside', 'true',
     (t.code = :reserved OR b.state = 'granted' OR b.state = 'reversed')::text)
) AS f (what, stored, computed)
WHERE f.stored IS DISTINCT FROM f.computed
"""

_PAYMENTS: Final = """
SELECT 'bonus' AS kind, b.id::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM bonus_grant AS b LEFT JOIN payment AS p ON p.id = b.payment_id
CROSS JOIN LATERAL (VALUES
    ('payment that brought it', coalesce(p.state, 'missing'), 'succeeded'),
    ('wallet that paid', b.wallet_id::text, p.wallet_id::text),
    ('id under its payment', left(b.id::text, 35), left(p.id::text, 35))
) AS f (what, stored, computed)
WHERE b.payment_id IS NOT NULL AND f.stored IS DISTINCT FROM f.computed
"""

_EVENTS: Final = """
SELECT 'event' AS kind, coalesce(d.id::text, b.event_id) AS id, 'yen of bonus' AS what,
       to_jsonb(d.granted_yen) AS stored, to_jsonb(coalesce(b.granted_yen, 0)) AS computed
FROM bonus_due AS d
FULL JOIN (
    SELECT left(id::text, 35) || '0' AS event_id, sum(amount_yen) AS granted_yen
    FROM bonus_grant WHERE payment_id IS NULL GROUP BY 1
) AS b ON b.event_id = d.id::text
WHERE coalesce(b.granted_yen, 0) IS DISTINCT FROM coalesce(d.granted_yen, 0) OR d.id IS NULL
"""

_RESERVES: Final = """
SELECT 'programme' AS kind, coalesce(g.code, r.account_id::text) AS id, 'yen set aside' AS what,
       to_jsonb(coalesce(r.yen, 0)) AS stored, to_jsonb(coalesce(p.yen, 0)) AS computed
FROM programme AS g
FULL JOIN (
    SELECT account_id, credits_posted - debits_posted AS yen FROM balance WHERE code = :reserve
) AS r ON r.account_id = g.id
LEFT JOIN (
    SELECT programme_id, sum(amount_yen - reversed_yen) AS yen FROM bonus_grant
    WHERE state = 'pending' GROUP BY 1
) AS p ON p.programme_id = g.id
WHERE coalesce(r.yen, 0) <> coalesce(p.yen, 0) OR g.id IS NULL
"""

_COUPONS: Final = """
SELECT 'coupon' AS kind, coalesce(u.payment_id, t.user_data_128)::text AS id, f.what,
       to_jsonb(f.stored) AS stored, to_jsonb(f.computed) AS computed
FROM (
    SELECT u.*, g.number, p.wallet_id AS payer_id, p.state
    FROM coupon_use AS u
    LEFT JOIN programme AS g ON g.id = u.programme_id LEFT JOIN payment AS p ON p.id = u.payment_id
) AS u
FULL JOIN (
    SELECT t.* FROM transfer AS t JOIN account AS d ON d.id = t.debit_account_id
    WHERE t.code = :coupon AND d.code = :budget
) AS t ON t.user_data_128 = u.payment_id
CROSS JOIN LATERAL (VALUES
    ('transfer of the coupon', (t.id IS NOT NULL)::text, (u.payment_id IS NOT NULL)::text),
    ('yen', u.amount_yen::text, t.amount::text),
    ('programme', u.number::text, t.user_data_32::text),
    ('payment that used it', coalesce(u.state, 'missing'), 'succeeded'),
    ('wallet that paid', u.wallet_id::text, u.payer_id::text)
) AS f (what, stored, computed)
WHERE f.stored IS DISTINCT FROM f.computed
"""


def questions() -> list[Question]:
    """Return what is asked of bonuses and coupons."""
    coupons = {"coupon": TRANSFER_COUPON, "budget": ACCOUNT_BUDGET}
    reserve = {"reserve": ACCOUNT_BONUS_RESERVE}
    return [
        Question("bonuses_have_their_transfers", "bonuses", _GRANTS, _CHART),
        Question("bonuses_are_of_payments_that_succeeded", "bonuses", _PAYMENTS),
        Question("events_brought_what_they_say", "bonuses", _EVENTS),
        Question("reserves_hold_what_was_promised", "bonuses", _RESERVES, reserve),
        Question("coupons_have_their_transfers", "coupons", _COUPONS, coupons),
    ]
