"""Whether gifts, charges, exchanges, civic events and shops' takings moved what they say.

The transfers of each have its id and numbers after it: a gift's parts 11 to 15, an exchange's parts
up to 14 and what comes in as 15, of everything else the one transfer as 1.
"""

from typing import Any, Final

from wallet.ledger.chart import (
    TRANSFER_BONUS,
    TRANSFER_CASH_OUT,
    TRANSFER_EXCHANGE,
    TRANSFER_GIFT,
    TRANSFER_ISSUE,
    TRANSFER_SHOP_TO_SHOP,
)
from wallet.ledger.findings import Question

_GIFTS: Final = """
SELECT 'gift' AS kind, coalesce(g.id, moved.id)::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM gift AS g
FULL JOIN (
    SELECT (left(t.id::text, 35) || '0')::uuid AS id, sum(t.amount) AS yen,
           min(p.wallet_id::text) AS giver, max(p.wallet_id::text) AS last_giver,
           min(q.wallet_id::text) AS receiver, max(q.wallet_id::text) AS last_receiver
    FROM transfer AS t
    JOIN purse AS p ON p.account_id = t.debit_account_id
    JOIN purse AS q ON q.account_id = t.credit_account_id
    WHERE t.code = :gift AND t.flags & 10 = 0 GROUP BY 1
) AS moved ON moved.id = g.id
CROSS JOIN LATERAL (VALUES
    ('yen given', coalesce(moved.yen, 0)::text,
     CASE WHEN g.state = 'given' THEN g.amount_yen ELSE 0 END::text),
    ('giver''s wallet', moved.giver,
     CASE WHEN g.state = 'given' THEN g.giver_wallet_id END::text),
    ('giver''s wallet', moved.last_giver,
     CASE WHEN g.state = 'given' THEN g.giver_wallet_id END::text),
    ('receiver''s wallet', moved.receiver, g.receiver_wallet_id::text),
    ('receiver''s wallet', moved.last_receiver, g.receiver_wallet_id::text)
) AS f (what, stored, computed)
WHERE f.stored IS DISTINCT FROM f.computed
"""

_MOVED: Final = """
SELECT said.kind, said.id::text AS id, 'yen moved' AS what,
       to_jsonb(coalesce(t.amount, 0)) AS stored, to_jsonb(said.yen) AS computed
FROM (
    SELECT 'attendance' AS kind, id, '1' AS number, CAST(:bonus AS int) AS code, amount_yen AS yen
    FROM attendance
    UNION ALL
    SELECT 'charge', id, '1', CAST(:issue AS int),
           CASE WHEN state = 'charged' THEN amount_yen ELSE 0 END
    FROM charge
    UNION ALL
    SELECT 'exchange', id, 'f', CAST(:exchange AS int), received_yen FROM exchange
    UNION ALL
    SELECT 'takings order', id, '1',
           CASE WHEN to_shop_id IS NULL THEN CAST(:cash_out AS int)
                ELSE CAST(:shop_to_shop AS int) END,
           CASE WHEN state = 'moved' THEN amount_yen ELSE 0 END
    FROM takings_order
) AS said
LEFT JOIN transfer AS t ON t.id = (left(said.id::text, 35) || said.number)::uuid
    AND t.code = said.code
WHERE coalesce(t.amount, 0) <> said.yen
UNION ALL
SELECT 'exchange', coalesce(e.id, taken.id)::text, 'yen taken', to_jsonb(coalesce(taken.yen, 0)),
       to_jsonb(coalesce(e.given_yen, 0))
FROM exchange AS e
FULL JOIN (
    SELECT (left(t.id::text, 35) || '0')::uuid AS id, sum(t.amount) AS yen
    FROM transfer AS t JOIN purse AS p ON p.account_id = t.debit_account_id
    WHERE t.code = :exchange AND t.flags & 10 = 0 GROUP BY 1
) AS taken ON taken.id = e.id
WHERE coalesce(taken.yen, 0) <> coalesce(e.given_yen, 0)
UNION ALL
SELECT 'transfer', t.id::text, 'order on takings', to_jsonb('missing'::text),
       to_jsonb('present'::text)
FROM transfer AS t LEFT JOIN takings_order AS o ON o.id = t.user_data_128
WHERE t.code IN (:cash_out, :shop_to_shop) AND o.id IS NULL
"""


def questions() -> list[Question]:
    """Return what is asked of gifts, and of everything else that moves coin and points."""
    kinds: dict[str, Any] = {
        "bonus": TRANSFER_BONUS,
        "issue": TRANSFER_ISSUE,
        "exchange": TRANSFER_EXCHANGE,
        "cash_out": TRANSFER_CASH_OUT,
        "shop_to_shop": TRANSFER_SHOP_TO_SHOP,
    }
    return [
        Question("gifts_moved_their_amount", "gifts", _GIFTS, {"gift": TRANSFER_GIFT}),
        Question("points_moved_their_amount", "points", _MOVED, kinds),
    ]
