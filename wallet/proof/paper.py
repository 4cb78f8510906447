"""Whether paper is worth what is left of it, and cards that were replaced pay no more.

A booklet's money came as one set and leaves as payments, each of one used sheet. The two are added
up from the transfers; the tables of paper say how many sheets there were.
"""

from typing import Any, Final

from wallet.ledger.chart import TRANSFER_ISSUE, TRANSFER_PAYMENT
from wallet.ledger.findings import Question

_BOOKLETS: Final = """
SELECT 'booklet' AS kind, s.id::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM paper_serial AS s
JOIN paper_batch AS b ON b.id = s.batch_id
LEFT JOIN (
    SELECT p.wallet_id, sum(t.amount) AS yen
    FROM transfer AS t JOIN purse AS p ON p.account_id = t.credit_account_id
    WHERE t.code = :issue AND t.flags & 10 = 0 GROUP BY 1
) AS issued ON issued.wallet_id = s.id
LEFT JOIN (
    SELECT p.wallet_id, sum(t.amount) AS yen
    FROM transfer AS t JOIN purse AS p ON p.account_id = t.debit_account_id
    WHERE t.code = :payment AND t.flags & 10 = 0 GROUP BY 1
) AS paid ON paid.wallet_id = s.id
LEFT JOIN (
    SELECT serial_id, count(*) AS sheets FROM paper_use
    WHERE settled_at IS NOT NULL AND refusal IS NULL GROUP BY 1
) AS used ON used.serial_id = s.id
CROSS JOIN LATERAL (VALUES
    ('yen issued', coalesce(issued.yen, 0)::bigint,
     CASE WHEN s.issued_at IS NULL THEN 0 ELSE b.sheets * b.sheet_yen END),
    ('yen paid for its sheets', coalesce(paid.yen, 0)::bigint,
     coalesce(used.sheets, 0) * b.sheet_yen)
) AS f (what, stored, computed)
WHERE f.stored <> f.computed
"""

_SHEETS: Final = """
SELECT 'payment' AS kind, coalesce(u.payment_id, p.id)::text AS id, f.what,
       to_jsonb(f.stored) AS stored, to_jsonb(f.computed) AS computed
FROM paper_use AS u
LEFT JOIN paper_serial AS s ON s.id = u.serial_id
LEFT JOIN paper_batch AS b ON b.id = s.batch_id
FULL JOIN (SELECT * FROM payment WHERE instrument = 'paper') AS p ON p.id = u.payment_id
CROSS JOIN LATERAL (VALUES
    ('sheet of the payment', (u.payment_id IS NOT NULL)::text, 'true'),
    ('that it was decided', (p.id IS NOT NULL)::text, (u.settled_at IS NOT NULL)::text),
    ('what became of it', p.state,
     CASE WHEN p.id IS NULL THEN NULL WHEN u.refusal IS NULL THEN 'succeeded' ELSE 'declined' END),
    ('whose and where it was',
     concat_ws(' ', p.wallet_id, p.terminal_id, p.amount_yen),
     CASE WHEN p.id IS NULL THEN '' ELSE concat_ws(' ', u.serial_id, u.terminal_id, b.sheet_yen)
     END)
) AS f (what, stored, computed)
WHERE f.stored IS DISTINCT FROM f.computed
"""

_CARDS: Final = """
SELECT 'card' AS kind, r.old_card_id::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM card_replacement AS r
JOIN card AS c ON c.id = r.old_card_id
JOIN wallet AS w ON w.id = r.from_wallet_id
CROSS JOIN LATERAL (VALUES
    ('state of a card that was replaced', c.state, 'replaced'),
    ('state of the wallet that was left', CASE WHEN left_behind THEN w.state ELSE 'closed' END,
     'closed')
) AS f (what, stored, computed)
WHERE f.stored <> f.computed
""".replace("left_behind", "(r.moved_at IS NOT NULL AND r.from_wallet_id <> r.to_wallet_id)")


def questions() -> list[Question]:
    """Return what is asked of booklets, their sheets, and of cards that were replaced."""
    codes: dict[str, Any] = {"issue": TRANSFER_ISSUE, "payment": TRANSFER_PAYMENT}
    return [
        Question("booklets_are_worth_their_sheets", "booklets", _BOOKLETS, codes),
        Question("sheets_are_paid_once", "sheets", _SHEETS),
        Question("replaced_cards_are_left", "replacements", _CARDS),
    ]
