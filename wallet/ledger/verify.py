"""Verify: recompute the whole ledger from its transfers and holds, and name every difference.

One snapshot, read only, so it may run beside traffic. What it proves, by the names of its checks:

``ledgers_balance``
    in each ledger all debits equal all credits, posted and pending
``balances_equal_their_transfers``
    the four counters, the number of transfers, the last timestamp and ``closed`` of each balance
``limits_hold_at_every_transfer``
    no account that has limits ever broke one, after any of its transfers; and an account that is
    locked by those who change it has strictly increasing timestamps
``accounts_have_one_balance``
    accounts and balances are one to one and agree in what never changes
``transfers_are_well_formed``
    flags that fit together, known accounts, and one ledger for the transfer and both of them
``chains_are_whole``
    what is linked to a next transfer has one
``holds_have_one_transfer``
    a hold for each pending transfer, and the reverse, with the expiry that follows from it
``holds_are_resolved_once``
    at most one post or void, of no more than was held, in time, and the hold says the same
``expired_holds_are_released``
    no money moved a minute after a hold's expiry without releasing it
``burnt_ids_are_not_booked``
    a told failure never became a success
``rows_cannot_change``
    triggers and privileges that keep written rows as they are
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.ledger.chart import ACCOUNT_BONUS_RESERVE, ACCOUNT_BUDGET
from wallet.ledger.entries import ENTRIES
from wallet.ledger.findings import Check, Question, ask, snapshot

RELEASE_GRACE_S: Final = 60
"""How long after a hold's expiry money may move without having released it.

A batch releases 500 at a time, and clocks of several processes differ a little.
"""

IMMUTABLE_TABLES: Final = ("account", "transfer", "burnt_transfer", "seal")

_COUNTS: Final = text("""
SELECT (SELECT count(*) FROM account) AS accounts,
       (SELECT count(*) FROM transfer) AS transfers,
       (SELECT count(*) FROM pending_transfer) AS holds,
       (SELECT count(*) FROM burnt_transfer) AS burnt,
       (SELECT count(DISTINCT ledger) FROM balance) AS ledgers
""")

_LEDGERS: Final = """
SELECT 'ledger' AS kind, ledger::text AS id, f.what, f.stored, f.computed
FROM (
    SELECT ledger, sum(debits_posted) AS debits_posted, sum(credits_posted) AS credits_posted,
           sum(debits_pending) AS debits_pending, sum(credits_pending) AS credits_pending
    FROM balance GROUP BY ledger
) AS b
CROSS JOIN LATERAL (VALUES
    ('debits_posted against credits_posted', to_jsonb(debits_posted), to_jsonb(credits_posted)),
    ('debits_pending against credits_pending', to_jsonb(debits_pending), to_jsonb(credits_pending))
) AS f (what, stored, computed)
WHERE f.stored <> f.computed
"""

# An account is closed when it was opened so, or by a hold that has not been released.
_BALANCES: Final = f"""
WITH computed AS (
    SELECT account_id, sum(transfers) AS transfers,
           max(timestamp) FILTER (WHERE transfers = 1) AS latest,
           sum(debits_pending) AS debits_pending, sum(debits_posted) AS debits_posted,
           sum(credits_pending) AS credits_pending, sum(credits_posted) AS credits_posted
    FROM ({ENTRIES}) AS entry GROUP BY account_id
), closing AS (
    SELECT t.debit_account_id, t.credit_account_id, t.flags
    FROM pending_transfer AS h JOIN transfer AS t ON t.id = h.transfer_id
    WHERE h.state IN ('pending', 'posted') AND t.flags & 192 <> 0
), closed AS (
    SELECT debit_account_id AS account_id FROM closing WHERE flags & 64 <> 0
    UNION SELECT credit_account_id FROM closing WHERE flags & 128 <> 0
    UNION SELECT id FROM account WHERE flags & 32 <> 0
), compared AS (
    SELECT b.*, coalesce(c.transfers, 0) AS c_transfers,
           coalesce(c.latest, a.timestamp) AS c_latest, closed.account_id IS NOT NULL AS c_closed,
           coalesce(c.debits_pending, 0) AS c_debits_pending,
           coalesce(c.debits_posted, 0) AS c_debits_posted,
           coalesce(c.credits_pending, 0) AS c_credits_pending,
           coalesce(c.credits_posted, 0) AS c_credits_posted
    FROM balance AS b
    JOIN account AS a ON a.id = b.account_id
    LEFT JOIN computed AS c ON c.account_id = b.account_id
    LEFT JOIN closed ON closed.account_id = b.account_id
)
SELECT 'account' AS kind, account_id::text AS id, f.what, f.stored, f.computed
FROM (
    SELECT * FROM compared
    WHERE debits_pending <> c_debits_pending OR debits_posted <> c_debits_posted
       OR credits_pending <> c_credits_pending OR credits_posted <> c_credits_posted
       OR transfer_count <> c_transfers OR last_timestamp <> c_latest OR closed <> c_closed
) AS b
CROSS JOIN LATERAL (VALUES
    ('debits_pending', to_jsonb(debits_pending), to_jsonb(c_debits_pending)),
    ('debits_posted', to_jsonb(debits_posted), to_jsonb(c_debits_posted)),
    ('credits_pending', to_jsonb(credits_pending), to_jsonb(c_credits_pending)),
    ('credits_posted', to_jsonb(credits_posted), to_jsonb(c_credits_posted)),
    ('transfer_count', to_jsonb(transfer_count), to_jsonb(c_transfers)),
    ('last_timestamp', to_jsonb(last_timestamp), to_jsonb(c_latest)),
    ('closed', to_jsonb(closed), to_jsonb(c_closed))
) AS f (what, stored, computed)
WHERE f.stored <> f.computed
"""  # noqa: S608 - constants all

# Accounts with neither flags nor limits are added to by several batches side by side, so their
# transfers have no order of their own and nothing to break. Budgets and reserves are, while they
# hold plenty: then transfers of two processes may have the same timestamp. One finding for each
# limit: where it was first broken. The conditions are those of the balance table's CHECKs.
_LIMITS: Final = f"""
WITH guarded AS (
    SELECT * FROM account
    WHERE flags <> 0 OR min_available IS NOT NULL OR max_balance IS NOT NULL
), running AS (
    SELECT e.account_id, e.timestamp, e.transfers,
           lag(e.timestamp) OVER w AS before, lag(e.transfers) OVER w AS transfers_before,
           sum(e.debits_pending + e.debits_posted) OVER w AS debits,
           sum(e.credits_posted - e.debits_posted - e.debits_pending) OVER w AS available,
           sum(e.credits_posted + e.credits_pending - e.debits_posted) OVER w AS held
    FROM ({ENTRIES}) AS e WHERE e.account_id IN (SELECT id FROM guarded)
    WINDOW w AS (PARTITION BY e.account_id ORDER BY e.timestamp, e.transfers
                 ROWS UNBOUNDED PRECEDING)
), broken AS (
    SELECT r.account_id, r.timestamp, f.what, f.stored, f.computed
    FROM running AS r
    JOIN guarded AS g ON g.id = r.account_id
    CROSS JOIN LATERAL (VALUES
        ('debits_must_not_exceed_credits', 0, r.available,
         g.flags & 2 <> 0 AND r.available < 0),
        ('credits_must_not_exceed_debits', 0, r.held, g.flags & 4 <> 0 AND r.held > 0),
        ('min_available', g.min_available, r.available,
         r.debits <> 0 AND r.available < g.min_available),
        ('max_balance', g.max_balance, r.held, r.held > g.max_balance),
        ('timestamp after the one before', r.before, r.timestamp,
         r.transfers = 1 AND r.transfers_before = 1 AND r.timestamp = r.before
         AND g.code NOT IN ({ACCOUNT_BUDGET}, {ACCOUNT_BONUS_RESERVE})),
        ('timestamp after the creation', g.timestamp, r.timestamp, r.timestamp <= g.timestamp)
    ) AS f (what, stored, computed, is_broken)
    WHERE (r.available < 0 AND g.flags & 2 <> 0 OR r.held > 0 AND g.flags & 4 <> 0
           OR g.min_available IS NOT NULL OR g.max_balance IS NOT NULL
           OR r.timestamp = r.before OR r.timestamp <= g.timestamp)
      AND f.is_broken
)
SELECT DISTINCT ON (b.account_id, b.what)
       'account' AS kind, b.account_id::text AS id, b.what || ' at ' || b.timestamp AS what,
       to_jsonb(b.stored) AS stored, to_jsonb(b.computed) AS computed
FROM broken AS b ORDER BY b.account_id, b.what, b.timestamp
"""  # noqa: S608 - constants all

_ACCOUNTS: Final = """
SELECT 'account' AS kind, coalesce(a.id, b.account_id)::text AS id, f.what, f.stored, f.computed
FROM account AS a FULL JOIN balance AS b ON b.account_id = a.id
CROSS JOIN LATERAL (VALUES
    ('balance', to_jsonb(b.account_id IS NOT NULL), to_jsonb(true)),
    ('account', to_jsonb(a.id IS NOT NULL), to_jsonb(true)),
    ('ledger', to_jsonb(b.ledger), to_jsonb(a.ledger)),
    ('code', to_jsonb(b.code), to_jsonb(a.code)),
    ('flags', to_jsonb(b.flags), to_jsonb(a.flags)),
    ('min_available', to_jsonb(b.min_available), to_jsonb(a.min_available)),
    ('max_balance', to_jsonb(b.max_balance), to_jsonb(a.max_balance))
) AS f (what, stored, computed)
WHERE (a.id, a.ledger, a.code, a.flags, a.min_available, a.max_balance)
      IS DISTINCT FROM
      (b.account_id, b.ledger, b.code, b.flags, b.min_available, b.max_balance)
  AND f.stored IS DISTINCT FROM f.computed
"""

_TRANSFERS: Final = """
SELECT 'transfer' AS kind, t.id::text AS id, f.what,
       to_jsonb(f.stored) AS stored, to_jsonb(f.computed) AS computed
FROM transfer AS t
LEFT JOIN account AS d ON d.id = t.debit_account_id
LEFT JOIN account AS c ON c.id = t.credit_account_id
CROSS JOIN LATERAL (VALUES
    ('debit account ' || t.debit_account_id, d.id IS NOT NULL, 'unknown', 'known'),
    ('credit account ' || t.credit_account_id, c.id IS NOT NULL, 'unknown', 'known'),
    ('ledger of the debit account', d.ledger = t.ledger, t.ledger::text, d.ledger::text),
    ('ledger of the credit account', c.ledger = t.ledger, t.ledger::text, c.ledger::text),
    ('two accounts', t.debit_account_id <> t.credit_account_id, 'one', 'two'),
    ('amount', t.amount >= 0, t.amount::text, 'not negative'),
    ('flags', t.flags BETWEEN 0 AND 255
              AND (t.flags & 12 = 0 OR t.flags & ~1 IN (4, 8))
              AND (t.flags & 192 = 0 OR t.flags & 2 <> 0), t.flags::text, 'fitting together'),
    ('pending_id', (t.pending_id IS NOT NULL) = (t.flags & 12 <> 0), t.pending_id::text,
     'only of a post or void'),
    ('timeout_s', t.timeout_s = 0 OR t.flags & 2 <> 0 AND t.timeout_s > 0, t.timeout_s::text,
     'only of a hold')
) AS f (what, is_right, stored, computed)
WHERE NOT (d.ledger IS NOT DISTINCT FROM t.ledger AND c.ledger IS NOT DISTINCT FROM t.ledger
           AND t.flags & 254 = 0 AND t.flags >= 0 AND t.pending_id IS NULL AND t.timeout_s = 0
           AND t.amount >= 0 AND t.debit_account_id <> t.credit_account_id)
  AND NOT f.is_right
"""

# The transfers of one request that succeed have consecutive timestamps.
_CHAINS: Final = """
SELECT 'transfer' AS kind, t.id::text AS id, 'linked transfer at ' || t.timestamp + 1 AS what,
       to_jsonb('missing'::text) AS stored, to_jsonb('present'::text) AS computed
FROM transfer AS t
WHERE t.flags & 1 <> 0
  AND NOT EXISTS (SELECT FROM transfer AS next WHERE next.timestamp = t.timestamp + 1)
"""

_HOLDS: Final = """
SELECT 'transfer' AS kind, coalesce(t.id, h.transfer_id)::text AS id, f.what, f.stored, f.computed
FROM (SELECT * FROM transfer WHERE flags & 2 <> 0) AS t
FULL JOIN pending_transfer AS h ON h.transfer_id = t.id
CROSS JOIN LATERAL (VALUES
    ('hold', to_jsonb(h.transfer_id IS NOT NULL), to_jsonb(true)),
    ('pending transfer', to_jsonb(t.id IS NOT NULL), to_jsonb(true)),
    ('expires_at', to_jsonb(h.expires_at),
     to_jsonb(CASE WHEN t.timeout_s > 0 THEN t.timestamp + t.timeout_s * 1000000::bigint END))
) AS f (what, stored, computed)
WHERE f.stored IS DISTINCT FROM f.computed
  AND (f.what <> 'expires_at' OR t.id IS NOT NULL AND h.transfer_id IS NOT NULL)
"""

# When a hold was posted or voided is the batch's moment: timestamps may be a little later.
_RESOLUTIONS: Final = """
WITH resolver AS (SELECT * FROM transfer WHERE flags & 12 <> 0),
counted AS (
    SELECT pending_id, min(timestamp) AS timestamp,
           count(*) FILTER (WHERE flags & 4 <> 0) AS posts,
           count(*) FILTER (WHERE flags & 8 <> 0) AS voids
    FROM resolver GROUP BY pending_id
)
SELECT 'transfer' AS kind, r.id::text AS id, f.what, f.stored, f.computed
FROM resolver AS r
LEFT JOIN (SELECT * FROM transfer WHERE flags & 2 <> 0) AS t ON t.id = r.pending_id
CROSS JOIN LATERAL (VALUES
    ('hold ' || r.pending_id, t.id IS NOT NULL, to_jsonb('unknown'::text),
     to_jsonb('known'::text)),
    ('debit_account_id', r.debit_account_id = t.debit_account_id,
     to_jsonb(r.debit_account_id), to_jsonb(t.debit_account_id)),
    ('credit_account_id', r.credit_account_id = t.credit_account_id,
     to_jsonb(r.credit_account_id), to_jsonb(t.credit_account_id)),
    ('code', r.code = t.code, to_jsonb(r.code), to_jsonb(t.code)),
    ('amount against the held', r.amount <= t.amount AND (r.flags & 8 = 0 OR r.amount = t.amount),
     to_jsonb(r.amount), to_jsonb(t.amount)),
    ('timestamp after the hold', r.timestamp > t.timestamp,
     to_jsonb(r.timestamp), to_jsonb(t.timestamp))
) AS f (what, is_right, stored, computed)
WHERE NOT f.is_right
UNION ALL
SELECT 'transfer', h.transfer_id::text, f.what, f.stored, f.computed
FROM pending_transfer AS h LEFT JOIN counted AS c ON c.pending_id = h.transfer_id
CROSS JOIN LATERAL (VALUES
    ('posts of a hold that is ' || h.state, to_jsonb(coalesce(c.posts, 0)),
     to_jsonb((h.state = 'posted')::int)),
    ('voids of a hold that is ' || h.state, to_jsonb(coalesce(c.voids, 0)),
     to_jsonb((h.state = 'voided')::int)),
    ('resolved before expires_at ' || coalesce(h.expires_at::text, 'never'),
     to_jsonb(CASE WHEN h.state IN ('posted', 'voided') THEN h.resolved_at END),
     CASE WHEN h.state IN ('posted', 'voided') AND h.resolved_at < coalesce(h.expires_at,
          h.resolved_at + 1) THEN to_jsonb(h.resolved_at) END),
    ('expired at expires_at ' || coalesce(h.expires_at::text, 'never') || ' or later',
     to_jsonb(CASE WHEN h.state = 'expired' THEN h.resolved_at END),
     CASE WHEN h.state = 'expired' AND h.resolved_at >= h.expires_at
          THEN to_jsonb(h.resolved_at) END),
    ('resolved_at by the transfer at ' || c.timestamp, to_jsonb(h.resolved_at),
     to_jsonb(CASE WHEN h.state IN ('posted', 'voided') THEN least(h.resolved_at, c.timestamp)
              ELSE h.resolved_at END))
) AS f (what, stored, computed)
WHERE f.stored IS DISTINCT FROM f.computed
"""

_OVERDUE: Final = """
SELECT 'transfer' AS kind, h.transfer_id::text AS id,
       'hold that expired at ' || h.expires_at AS what,
       to_jsonb(h.state) AS stored, to_jsonb('expired'::text) AS computed
FROM pending_transfer AS h
WHERE h.state = 'pending'
  AND h.expires_at + CAST(:grace_us AS bigint)
      < least(CAST(:now_us AS bigint), (SELECT max(timestamp) FROM transfer))
"""

_BURNT: Final = """
SELECT 'transfer' AS kind, b.id::text AS id, 'id that failed with ' || b.code AS what,
       to_jsonb('booked'::text) AS stored, to_jsonb('not booked'::text) AS computed
FROM burnt_transfer AS b JOIN transfer AS t ON t.id = b.id
"""

# In pg_trigger's tgtype, 27 is BEFORE UPDATE OR DELETE FOR EACH ROW and 34 is BEFORE TRUNCATE.
# A month is a table too, under the name of its own.
_IMMUTABLE: Final = """
SELECT 'table' AS kind, c.relname::text AS id, f.what, to_jsonb(f.stored) AS stored,
       to_jsonb(f.computed) AS computed
FROM (
    SELECT to_regclass(name) AS id FROM unnest(CAST(:tables AS text[])) AS asked (name)
    UNION ALL
    SELECT inhrelid FROM unnest(CAST(:tables AS text[])) AS asked (name)
    JOIN pg_inherits ON inhparent = to_regclass(name)
) AS one
JOIN pg_class AS c ON c.oid = one.id
CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(tgtype & 27 = 27), false) AS rows_stay,
           coalesce(bool_or(tgtype & 34 = 34), false) AS stays_full
    FROM pg_trigger
    WHERE tgrelid = c.oid AND tgenabled IN ('O', 'A') AND tgfoid = to_regproc('refuse_change')
) AS guard
CROSS JOIN LATERAL (VALUES
    ('trigger against UPDATE and DELETE', guard.rows_stay, true),
    ('trigger against TRUNCATE', guard.stays_full, true),
    ('wallet_app may UPDATE, DELETE or TRUNCATE',
     has_any_column_privilege('wallet_app', c.oid, 'UPDATE')
     OR has_table_privilege('wallet_app', c.oid, 'DELETE, TRUNCATE'), false)
) AS f (what, stored, computed)
WHERE f.stored <> f.computed
"""


class LedgerReport(msgspec.Struct, frozen=True):
    """What was verified, at which moment, and what came of each check."""

    verified_at_us: int
    accounts: int
    transfers: int
    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        """Whether no check found a difference."""
        return all(check.ok for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for ``--json``."""
        return {
            "ok": self.ok,
            "verified_at_us": self.verified_at_us,
            "accounts": self.accounts,
            "transfers": self.transfers,
            "checks": [check.as_dict() for check in self.checks],
        }


async def verify(engine: AsyncEngine, now_us: int) -> LedgerReport:
    """Recompute the ledger at one moment of the database and return what differs."""
    async with snapshot(engine) as connection:
        return await verify_snapshot(connection, now_us=now_us)


async def verify_snapshot(connection: AsyncConnection, *, now_us: int) -> LedgerReport:
    """Verify what ``connection``, from :func:`~wallet.ledger.findings.snapshot`, sees."""
    row = (await connection.execute(_COUNTS)).one()
    counts: Mapping[str, int] = {
        **row._mapping,  # noqa: SLF001 - its documented way to a dict
        "tables": len(IMMUTABLE_TABLES),
    }
    checks = await ask(connection, _questions(now_us), counts=counts)
    return LedgerReport(now_us, row.accounts, row.transfers, checks)


def immutable(name: str, tables: Sequence[str]) -> Question:
    """Return the question, under a name, whether the rows of ``tables`` are kept as they are."""
    return Question(name, "tables", _IMMUTABLE, {"tables": list(tables)})


def _questions(now_us: int) -> list[Question]:
    overdue = {"now_us": now_us, "grace_us": RELEASE_GRACE_S * 1_000_000}
    return [
        Question("ledgers_balance", "ledgers", _LEDGERS),
        Question("balances_equal_their_transfers", "accounts", _BALANCES),
        Question("limits_hold_at_every_transfer", "transfers", _LIMITS),
        Question("accounts_have_one_balance", "accounts", _ACCOUNTS),
        Question("transfers_are_well_formed", "transfers", _TRANSFERS),
        Question("chains_are_whole", "transfers", _CHAINS),
        Question("holds_have_one_transfer", "holds", _HOLDS),
        Question("holds_are_resolved_once", "holds", _RESOLUTIONS),
        Question("expired_holds_are_released", "holds", _OVERDUE, overdue),
        Question("burnt_ids_are_not_booked", "burnt", _BURNT),
        immutable("rows_cannot_change", IMMUTABLE_TABLES),
    ]
