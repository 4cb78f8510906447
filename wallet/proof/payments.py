"""Whether payments, and all that is written with them, agree with the transfers.

Every table that a payment's transaction writes is compared with the others: legs, idempotency
keys, one-time codes, spending counters, events, and the challenges that approved it. A payment that
waits has moved nothing, and holds its key and its code.
"""

from typing import Final

from wallet.ledger.chart import (
    ACCOUNT_BUDGET,
    TRANSFER_COUPON,
    TRANSFER_ISSUE,
    TRANSFER_PAYMENT,
)
from wallet.ledger.findings import Question

_AMOUNTS: Final = """
SELECT 'payment' AS kind, coalesce(p.id, legs.payment_id)::text AS id,
       CASE WHEN p.id IS NULL THEN 'payment of legs'
            ELSE 'yen moved by a payment that ' || p.state END AS what,
       to_jsonb(coalesce(legs.moved_yen, 0)) AS stored,
       to_jsonb(CASE WHEN p.state = 'succeeded' THEN p.amount_yen ELSE 0 END) AS computed
FROM payment AS p
FULL JOIN (
    SELECT t.user_data_128 AS payment_id, sum(t.amount) AS moved_yen
    FROM transfer AS t JOIN account AS d ON d.id = t.debit_account_id
    WHERE (t.code = :payment OR t.code = :coupon AND d.code = :budget) AND t.flags & 10 = 0
    GROUP BY 1
) AS legs ON legs.payment_id = p.id
WHERE coalesce(legs.moved_yen, 0)
      <> CASE WHEN p.state = 'succeeded' THEN p.amount_yen ELSE 0 END
   OR p.id IS NULL
"""

# A leg's id is its payment's but for the last of the 32 digits; that is how it is looked up.
_LEGS: Final = """
SELECT 'transfer' AS kind, t.id::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM transfer AS t
JOIN payment AS p ON p.id = t.user_data_128
LEFT JOIN shop AS s ON s.id = p.shop_id
LEFT JOIN purse AS q ON q.account_id = t.debit_account_id
CROSS JOIN LATERAL (VALUES
    ('payee', t.credit_account_id = s.payable_account_id,
     t.credit_account_id::text, s.payable_account_id::text),
    ('wallet of the purse', q.wallet_id = p.wallet_id, q.wallet_id::text, p.wallet_id::text),
    ('id under its payment', left(t.id::text, 35) = left(p.id::text, 35), t.id::text, p.id::text)
) AS f (what, is_right, stored, computed)
WHERE t.code = :payment
  AND (t.credit_account_id = s.payable_account_id AND q.wallet_id = p.wallet_id
       AND left(t.id::text, 35) = left(p.id::text, 35)) IS DISTINCT FROM true
  AND f.is_right IS DISTINCT FROM true
"""

_PLACES: Final = """
SELECT 'payment' AS kind, p.id::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM payment AS p
LEFT JOIN terminal AS t ON t.id = p.terminal_id
LEFT JOIN shop AS s ON s.id = p.shop_id
CROSS JOIN LATERAL (VALUES
    ('shop of the terminal', p.shop_id::text, t.shop_id::text),
    ('merchant of the shop', p.merchant_id::text, s.merchant_id::text)
) AS f (what, stored, computed)
WHERE (p.shop_id = t.shop_id AND p.merchant_id = s.merchant_id) IS DISTINCT FROM true
  AND f.stored IS DISTINCT FROM f.computed
"""

# Keys are the merchant's, or the person's who paid by phone.
_KEYS: Final = """
SELECT 'payment' AS kind, p.id::text AS id, 'idempotency keys' AS what,
       to_jsonb(0) AS stored, to_jsonb('1 or more'::text) AS computed
FROM (
    SELECT id, coalesce(asked_by, merchant_id) AS owner_id FROM payment
    UNION SELECT id, merchant_id FROM pending_payment
) AS p
WHERE NOT EXISTS (SELECT FROM idempotency_key AS k
                  WHERE k.payment_id = p.id AND k.principal_id = p.owner_id)
UNION ALL
SELECT 'payment', k.payment_id::text, 'owner of an idempotency key',
       to_jsonb(k.principal_id), to_jsonb(coalesce(p.asked_by, p.merchant_id, w.merchant_id))
FROM idempotency_key AS k
LEFT JOIN payment AS p ON p.id = k.payment_id
LEFT JOIN pending_payment AS w ON w.id = k.payment_id
WHERE k.principal_id IS DISTINCT FROM coalesce(p.asked_by, p.merchant_id, w.merchant_id)
"""

_EVENTS: Final = """
SELECT 'payment' AS kind, coalesce(p.id, told.event_id)::text AS id,
       CASE WHEN p.id IS NULL THEN 'events of a payment that is missing'
            ELSE 'events of a payment that ' || p.state END AS what,
       to_jsonb(coalesce(told.times, 0)) AS stored, to_jsonb((p.id IS NOT NULL)::int) AS computed
FROM payment AS p
FULL JOIN (
    SELECT event_id, count(*) AS times, min(kind) AS kind, max(kind) AS last_kind FROM outbox
    WHERE kind IN ('payment.succeeded', 'payment.declined') GROUP BY event_id
) AS told ON told.event_id = p.id
WHERE (told.times = 1 AND told.kind = 'payment.' || p.state) IS DISTINCT FROM true
"""

# An issue's transfers have its id but for the last digit, which is 0 in the issue's own.
_ISSUES: Final = """
SELECT 'issue' AS kind, coalesce(i.id, told.event_id)::text AS id, 'events' AS what,
       to_jsonb(coalesce(told.times, 0)) AS stored, to_jsonb((i.id IS NOT NULL)::int) AS computed
FROM (
    SELECT DISTINCT (left(id::text, 35) || '0')::uuid AS id FROM transfer WHERE code = :issue
) AS i
FULL JOIN (
    SELECT event_id, count(*) AS times FROM outbox
    WHERE kind IN ('voucher.issued', 'charge.completed') GROUP BY event_id
) AS told ON told.event_id = i.id
WHERE (told.times = 1 AND i.id IS NOT NULL) IS DISTINCT FROM true
"""

_CODES: Final = """
SELECT 'payment' AS kind, c.burnt_by::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM one_time_code AS c
LEFT JOIN (
    SELECT id, instrument, instrument_hash, wallet_id FROM payment
    UNION SELECT id, instrument, instrument_hash, wallet_id FROM pending_payment
) AS p ON p.id = c.burnt_by
CROSS JOIN LATERAL (VALUES
    ('payment that burnt a code', coalesce(p.id::text, 'missing'), c.burnt_by::text),
    ('code of the payment', encode(p.instrument_hash, 'hex'), encode(c.code_hash, 'hex')),
    ('wallet of the code', p.wallet_id::text, c.wallet_id::text)
) AS f (what, stored, computed)
WHERE c.burnt_by IS NOT NULL
  AND (p.instrument = 'cpm_code' AND p.instrument_hash = c.code_hash
       AND p.wallet_id = c.wallet_id) IS DISTINCT FROM true
  AND f.stored IS DISTINCT FROM f.computed
UNION ALL
SELECT 'payment', p.id::text, 'code that it was paid with', to_jsonb(c.burnt_by), to_jsonb(p.id)
FROM payment AS p LEFT JOIN one_time_code AS c ON c.code_hash = p.instrument_hash
WHERE p.instrument = 'cpm_code' AND p.state = 'succeeded' AND c.burnt_by IS DISTINCT FROM p.id
"""

# What waits has its challenge under its own id. It becomes a payment of that id when it is decided,
# unless another of its name came first; and only a success uses the challenge up.
_WAITING: Final = """
SELECT 'payment' AS kind, w.id::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM pending_payment AS w
LEFT JOIN payment AS p ON p.id = w.id
LEFT JOIN payment AS other ON other.merchant_id = w.merchant_id
    AND other.merchant_payment_id = w.merchant_payment_id
LEFT JOIN step_up AS s ON s.id = w.id AND s.operation = 'shop'
CROSS JOIN LATERAL (VALUES
    ('that it was decided', (w.decided_at IS NOT NULL)::text,
     (CASE WHEN w.decided_at IS NULL THEN p.id ELSE other.id END IS NOT NULL)::text),
    ('challenge', (s.id IS NOT NULL)::text, 'true'),
    ('payment that used its challenge up', coalesce(s.consumed_by::text, 'none'),
     CASE WHEN p.state = 'succeeded' THEN p.id::text ELSE 'none' END),
    ('what it was asked for',
     concat_ws(' ', w.merchant_id, w.merchant_payment_id, w.shop_id, w.terminal_id, w.amount_yen,
               w.instrument, encode(w.instrument_hash, 'hex'), w.wallet_id),
     CASE WHEN p.id IS NULL THEN NULL
          ELSE concat_ws(' ', p.merchant_id, p.merchant_payment_id, p.shop_id, p.terminal_id,
                         p.amount_yen, p.instrument, encode(p.instrument_hash, 'hex'), p.wallet_id)
     END)
) AS f (what, stored, computed)
WHERE f.stored <> f.computed
"""

_APPROVALS: Final = """
SELECT 'challenge' AS kind, s.id::text AS id, 'payment that it was used for' AS what,
       to_jsonb(s.consumed_by) AS stored, to_jsonb(coalesce(p.state, 'missing')) AS computed
FROM step_up AS s LEFT JOIN payment AS p ON p.id = s.consumed_by
WHERE s.operation = 'shop' AND s.consumed_by IS NOT NULL
  AND (p.state = 'succeeded') IS DISTINCT FROM true
"""

# Japan's day of a payment; it has had no daylight saving since 1952. A card's payment counts for
# the card and for its wallet, a proxy's for the proxy and for the wallet.
_SPENDING: Final = """
WITH spent AS (
    SELECT wallet_id AS holder_id, created_at, amount_yen FROM payment WHERE state = 'succeeded'
    UNION ALL
    SELECT c.id, p.created_at, p.amount_yen
    FROM payment AS p JOIN card AS c ON c.number_hash = p.instrument_hash
    WHERE p.state = 'succeeded' AND p.instrument = 'card'
    UNION ALL
    SELECT helper_id, created_at, amount_yen FROM payment
    WHERE state = 'succeeded' AND helper_id IS NOT NULL
), days AS (
    SELECT holder_id, (created_at AT TIME ZONE INTERVAL '9 hours')::date AS day,
           sum(amount_yen) AS spent_yen
    FROM spent GROUP BY 1, 2
), holder AS (
    SELECT id, 'wallet' AS kind FROM wallet UNION ALL SELECT id, 'card' FROM card
    UNION ALL
    SELECT id, 'helper' FROM helper WHERE kind = 'proxy' AND accepted_at IS NOT NULL
)
SELECT coalesce(h.kind, 'holder') AS kind, coalesce(h.id, s.holder_id)::text AS id, f.what,
       to_jsonb(f.stored) AS stored, to_jsonb(f.computed) AS computed
FROM holder AS h
FULL JOIN spending AS s ON s.holder_id = h.id
LEFT JOIN days AS d ON d.holder_id = s.holder_id AND d.day = s.spent_on
LEFT JOIN (SELECT holder_id, max(day) AS day FROM days GROUP BY 1) AS last
    ON last.holder_id = s.holder_id
CROSS JOIN LATERAL (VALUES
    ('counter of spending', (s.holder_id IS NOT NULL)::text, 'true'),
    ('holder of a counter', (h.id IS NOT NULL)::text, 'true'),
    ('spent_yen on ' || s.spent_on, s.spent_yen::text, coalesce(d.spent_yen, 0)::text),
    ('spent_on', s.spent_on::text, greatest(s.spent_on, last.day)::text)
) AS f (what, stored, computed)
WHERE f.stored <> f.computed
"""


def questions() -> list[Question]:
    """Return what is asked of payments and of what is written with them."""
    payment = {"payment": TRANSFER_PAYMENT}
    amounts = {**payment, "coupon": TRANSFER_COUPON, "budget": ACCOUNT_BUDGET}
    return [
        Question("payments_moved_their_amount", "payments", _AMOUNTS, amounts),
        Question("legs_lead_from_the_wallet_to_the_shop", "transfers", _LEGS, payment),
        Question("payments_are_of_their_terminal", "payments", _PLACES),
        Question("payments_have_their_keys", "keys", _KEYS),
        Question("payments_are_told_once", "payments", _EVENTS),
        Question("issues_are_told_once", "transfers", _ISSUES, {"issue": TRANSFER_ISSUE}),
        Question("codes_pay_once", "codes", _CODES),
        Question("waiting_payments_moved_nothing", "waiting", _WAITING),
        Question("approvals_are_used_for_a_payment", "approvals", _APPROVALS),
        Question("spending_counts_the_day", "holders", _SPENDING),
    ]
