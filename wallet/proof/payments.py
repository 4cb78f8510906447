"""Whether payments, and all that is written with them, agree with the transfers.

Every table that a payment's transaction writes is compared with the others: legs, idempotency
keys, one-time codes, spending counters, events.
"""

from typing import Final

from wallet.ledger.chart import TRANSFER_ISSUE, TRANSFER_PAYMENT
from wallet.ledger.findings import Question

_AMOUNTS: Final = """
SELECT 'payment' AS kind, coalesce(p.id, legs.payment_id)::text AS id,
       CASE WHEN p.id IS NULL THEN 'payment of legs'
            ELSE 'yen moved by a payment that ' || p.state END AS what,
       to_jsonb(coalesce(legs.moved_yen, 0)) AS stored,
       to_jsonb(CASE WHEN p.state = 'succeeded' THEN p.amount_yen ELSE 0 END) AS computed
FROM payment AS p
FULL JOIN (
    SELECT user_data_128 AS payment_id, sum(amount) AS moved_yen FROM transfer
    WHERE code = :payment AND flags & 10 = 0 GROUP BY user_data_128
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

_KEYS: Final = """
SELECT 'payment' AS kind, p.id::text AS id, 'idempotency keys' AS what,
       to_jsonb(0) AS stored, to_jsonb('1 or more'::text) AS computed
FROM payment AS p
WHERE NOT EXISTS (SELECT FROM idempotency_key AS k
                  WHERE k.payment_id = p.id AND k.principal_id = p.merchant_id)
UNION ALL
SELECT 'payment', k.payment_id::text, 'merchant of an idempotency key',
       to_jsonb(k.principal_id), to_jsonb(p.merchant_id)
FROM idempotency_key AS k LEFT JOIN payment AS p ON p.id = k.payment_id
WHERE k.principal_id IS DISTINCT FROM p.merchant_id
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
    SELECT event_id, count(*) AS times FROM outbox WHERE kind = 'voucher.issued' GROUP BY event_id
) AS told ON told.event_id = i.id
WHERE (told.times = 1 AND i.id IS NOT NULL) IS DISTINCT FROM true
"""

_CODES: Final = """
SELECT 'payment' AS kind, c.burnt_by::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM one_time_code AS c
LEFT JOIN payment AS p ON p.id = c.burnt_by
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

# Japan's day of a payment; it has had no daylight saving since 1952. A card's payment counts for
# the card and for its wallet.
_SPENDING: Final = """
WITH spent AS (
    SELECT wallet_id AS holder_id, created_at, amount_yen FROM payment WHERE state = 'succeeded'
    UNION ALL
    SELECT c.id, p.created_at, p.amount_yen
    FROM payment AS p JOIN card AS c ON c.number_hash = p.instrument_hash
    WHERE p.state = 'succeeded' AND p.instrument = 'card'
), days AS (
    SELECT holder_id, (created_at AT TIME ZONE INTERVAL '9 hours')::date AS day,
           sum(amount_yen) AS spent_yen
    FROM spent GROUP BY 1, 2
), holder AS (
    SELECT id, 'wallet' AS kind FROM wallet UNION ALL SELECT id, 'card' FROM card
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
    ('wallet or card of a counter', (h.id IS NOT NULL)::text, 'true'),
    ('spent_yen on ' || s.spent_on, s.spent_yen::text, coalesce(d.spent_yen, 0)::text),
    ('spent_on', s.spent_on::text, greatest(s.spent_on, last.day)::text)
) AS f (what, stored, computed)
WHERE f.stored <> f.computed
"""


def questions() -> list[Question]:
    """Return what is asked of payments and of what is written with them."""
    payment = {"payment": TRANSFER_PAYMENT}
    return [
        Question("payments_moved_their_amount", "payments", _AMOUNTS, payment),
        Question("legs_lead_from_the_wallet_to_the_shop", "transfers", _LEGS, payment),
        Question("payments_are_of_their_terminal", "payments", _PLACES),
        Question("payments_have_their_keys", "keys", _KEYS),
        Question("payments_are_told_once", "payments", _EVENTS),
        Question("issues_are_told_once", "transfers", _ISSUES, {"issue": TRANSFER_ISSUE}),
        Question("codes_pay_once", "codes", _CODES),
        Question("spending_counts_the_day", "holders", _SPENDING),
    ]
