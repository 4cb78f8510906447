"""The SQL of paying: set-based reads before a batch decides, inserts before it commits.

Rows are locked in this order everywhere: codes, then holders' spending, then ledger balances;
within each, by id. Nothing is locked that the batch does not change.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

import asyncpg
import msgspec

from wallet.core.database import Connection, array_literal
from wallet.core.refusals import Refusal
from wallet.payments.rules import CARD, CPM_CODE, Holder, Part, Payment, PayRequest
from wallet.programmes.rules import Purse, Shop

# Statements here are planned once, often while the tables are still empty, and must stay right
# when they are large. A subquery with OFFSET 0 and a comparison with ANY (ARRAY[…]) leave the
# planner nothing but a look-up by key; a plain join would let it read the whole table instead.

_FIND_REPEATS = """
SELECT asked.n, k.payment_id, p.id
FROM unnest($1::uuid[], $2::text[], $3::text[])
     WITH ORDINALITY AS asked (merchant_id, key, merchant_payment_id, n)
LEFT JOIN LATERAL (
    SELECT payment_id FROM idempotency_key
    WHERE principal_id = asked.merchant_id AND key = asked.key OFFSET 0
) AS k ON true
LEFT JOIN LATERAL (
    SELECT id FROM payment
    WHERE merchant_id = asked.merchant_id
      AND merchant_payment_id = asked.merchant_payment_id OFFSET 0
) AS p ON true
WHERE k.payment_id IS NOT NULL OR p.id IS NOT NULL
"""

# As text, because SQLAlchemy teaches its connections to decode JSON and the teller's get it as is.
_PAYMENT_COLUMNS = """
id, merchant_id, merchant_payment_id, shop_id, terminal_id, amount_yen, instrument,
instrument_hash, description, refusal::text, wallet_id, created_at
"""

_LOAD_PAYMENTS = f"SELECT {_PAYMENT_COLUMNS} FROM payment WHERE id = ANY($1::uuid[])"  # noqa: S608

# A payment's transfers have its id + 1 … + 15, so its parts are one short range of the key.
_LOAD_PARTS = """
SELECT asked.id, g.code, p.funding, t.amount
FROM unnest($1::uuid[], $2::uuid[]) AS asked (id, last_id)
CROSS JOIN LATERAL (
    SELECT id, debit_account_id, amount FROM transfer
    WHERE transfer.id > asked.id AND transfer.id <= asked.last_id OFFSET 0
) AS t
JOIN purse AS p ON p.account_id = ANY (ARRAY[t.debit_account_id])
JOIN programme AS g ON g.id = ANY (ARRAY[p.programme_id])
ORDER BY t.id
"""

_FIND_TERMINALS = """
SELECT t.id, s.merchant_id, t.state = 'active', m.state = 'active', s.payable_account_id,
       s.id, s.category, s.small
FROM terminal AS t
JOIN shop AS s ON s.id = ANY (ARRAY[t.shop_id])
JOIN merchant AS m ON m.id = ANY (ARRAY[s.merchant_id])
WHERE t.id = ANY($1::uuid[])
"""

_LOCK_CODES = """
SELECT code_hash, wallet_id, expires_at, burnt_by FROM one_time_code
WHERE code_hash = ANY($1::bytea[]) ORDER BY code_hash FOR NO KEY UPDATE
"""

_FIND_CARDS = """
SELECT number_hash, wallet_id, id, state, payment_limit_yen, daily_limit_yen FROM card
WHERE number_hash = ANY($1::bytea[])
"""

_LOCK_SPENDING = """
SELECT holder_id, spent_on, spent_yen FROM spending
WHERE holder_id = ANY($1::uuid[]) ORDER BY holder_id FOR NO KEY UPDATE
"""

_FIND_WALLETS = """
SELECT w.id, w.state, w.payment_limit_yen, w.daily_limit_yen,
       p.account_id, p.programme_id, p.funding, p.expires_on, g.version
FROM wallet AS w
LEFT JOIN purse AS p ON p.wallet_id = ANY (ARRAY[w.id])
LEFT JOIN programme AS g ON g.id = ANY (ARRAY[p.programme_id])
WHERE w.id = ANY($1::uuid[])
"""

# A payment and all that follows from it, in one round trip: its row, the key it was asked for
# with, the code it used up, what its holders have now spent, and the event for the outside. A code
# scanned twice in one batch belongs to the first scan; the second was told it is used.
_RECORD = """
WITH new AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[],
                         $6::text::bigint[], $7::text[], $8::bytea[], $9::text[], $10::jsonb[],
                         $11::uuid[], $12::text[])
    AS t (id, merchant_id, merchant_payment_id, shop_id, terminal_id, amount_yen,
          instrument, instrument_hash, description, refusal, wallet_id, key)
), paid AS (
    INSERT INTO payment (id, merchant_id, merchant_payment_id, shop_id, terminal_id, amount_yen,
                         instrument, instrument_hash, description, refusal, wallet_id,
                         state, created_at)
    SELECT id, merchant_id, merchant_payment_id, shop_id, terminal_id, amount_yen,
           instrument, instrument_hash, description, refusal, wallet_id,
           CASE WHEN refusal IS NULL THEN 'succeeded' ELSE 'declined' END, $15
    FROM new
), keyed AS (
    INSERT INTO idempotency_key (principal_id, key, payment_id, created_at)
    SELECT merchant_id, key, id, $15 FROM new
), burnt AS (
    UPDATE one_time_code AS c SET burnt_by = new.id FROM new
    WHERE new.instrument = 'cpm_code' AND c.code_hash = ANY (ARRAY[new.instrument_hash])
      AND c.burnt_by IS NULL AND (new.refusal ->> 'code') IS DISTINCT FROM 'code_used'
), told AS (
    INSERT INTO outbox (event_id, kind, body, created_at)
    SELECT id, CASE WHEN refusal IS NULL THEN 'payment.succeeded' ELSE 'payment.declined' END,
           jsonb_build_object('payment_id', id, 'merchant_id', merchant_id,
                              'merchant_payment_id', merchant_payment_id,
                              'amount_yen', amount_yen), $15
    FROM new
)
UPDATE spending AS s SET spent_yen = spent.spent_yen, spent_on = greatest(s.spent_on, $16)
FROM unnest($13::uuid[], $14::text::bigint[]) AS spent (holder_id, spent_yen)
WHERE s.holder_id = ANY (ARRAY[spent.holder_id])
"""

_INSERT_KEYS = """
INSERT INTO idempotency_key (principal_id, key, payment_id, created_at)
SELECT principal_id, key, payment_id, $4
FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS new (principal_id, key, payment_id)
"""


class TerminalFacts(msgspec.Struct, frozen=True, gc=False):
    """A terminal, the shop it stands in and the account its takings go to."""

    id: UUID
    merchant_id: UUID
    active: bool
    merchant_active: bool
    payable_account_id: UUID
    shop: Shop


class CodeFacts(msgspec.Struct, frozen=True, gc=False):
    """A one-time code as it was before the batch."""

    wallet_id: UUID
    expires_at: datetime
    burnt_by: UUID | None


class CardFacts(msgspec.Struct, frozen=True, gc=False):
    """A card, its wallet and its own ceilings."""

    wallet_id: UUID
    holder: Holder


async def find_repeats(
    connection: Connection, requests: Sequence[PayRequest]
) -> tuple[dict[tuple[UUID, str], Payment], dict[tuple[UUID, str], Payment]]:
    """Return earlier payments by (merchant, key) and by (merchant, merchant_payment_id)."""
    rows = await connection.fetch(
        _FIND_REPEATS,
        [request.merchant_id for request in requests],
        [request.idempotency_key for request in requests],
        [request.merchant_payment_id for request in requests],
    )
    by_key: dict[tuple[UUID, str], Payment] = {}
    by_merchant_id: dict[tuple[UUID, str], Payment] = {}
    if not rows:
        return by_key, by_merchant_id
    payments = await load_payments(connection, {i for row in rows for i in row[1:] if i})
    for number, keyed_id, own_id in rows:
        request = requests[number - 1]
        if keyed_id:
            by_key[request.merchant_id, request.idempotency_key] = payments[keyed_id]
        if own_id:
            by_merchant_id[request.merchant_id, request.merchant_payment_id] = payments[own_id]
    return by_key, by_merchant_id


async def load_payments(
    connection: Connection, payment_ids: Collection[UUID]
) -> dict[UUID, Payment]:
    """Return the payments with what they drew on, by id."""
    ids = list(payment_ids)
    rows = await connection.fetch(_LOAD_PAYMENTS, ids)
    last_ids = [UUID(int=identifier.int | 15) for identifier in ids]
    parts: dict[UUID, list[Part]] = {}
    for payment_id, *part in await connection.fetch(_LOAD_PARTS, ids, last_ids):
        parts.setdefault(payment_id, []).append(Part(*part))
    return {row["id"]: _payment_from(row, parts.get(row["id"], ())) for row in rows}


def _payment_from(row: asyncpg.Record, parts: Iterable[Part]) -> Payment:
    values = dict(row)
    refusal = values.pop("refusal")
    parsed = None if refusal is None else msgspec.json.decode(refusal, type=Refusal)
    return Payment(**values, refusal=parsed, parts=tuple(parts))


async def find_terminals(
    connection: Connection, terminal_ids: Collection[UUID]
) -> dict[UUID, TerminalFacts]:
    """Return the terminals that exist, whoever's they are."""
    rows = await connection.fetch(_FIND_TERMINALS, list(terminal_ids))
    return {r[0]: TerminalFacts(r[0], r[1], r[2], r[3], r[4], Shop(*r[5:])) for r in rows}


async def find_instruments(
    connection: Connection, requests: Sequence[PayRequest]
) -> tuple[dict[bytes, CodeFacts], dict[bytes, CardFacts]]:
    """Lock the codes and read the cards that the requests present."""
    codes, cards = {}, {}
    code_hashes = {r.instrument_hash for r in requests if r.instrument == CPM_CODE}
    card_hashes = {r.instrument_hash for r in requests if r.instrument == CARD}
    if code_hashes:
        rows = await connection.fetch(_LOCK_CODES, list(code_hashes))
        codes = {row[0]: CodeFacts(row[1], row[2], row[3]) for row in rows}
    if card_hashes:
        rows = await connection.fetch(_FIND_CARDS, list(card_hashes))
        cards = {r[0]: CardFacts(r[1], Holder(r[2], r[3], r[4], r[5])) for r in rows}
    return codes, cards


async def lock_spending(
    connection: Connection, holder_ids: Collection[UUID], *, day: date
) -> dict[UUID, int]:
    """Lock the holders' counters and return what each has spent on ``day``, in yen.

    A counter of a later day counts as well: another process's clock is a little ahead at midnight,
    and taking the day for a new one would give its holder the same day's limit again.
    """
    rows = await connection.fetch(_LOCK_SPENDING, list(holder_ids))
    return {row[0]: row[2] if row[1] >= day else 0 for row in rows}


async def find_wallets(
    connection: Connection, wallet_ids: Collection[UUID]
) -> tuple[dict[UUID, Holder], dict[UUID, list[Purse]], dict[UUID, int]]:
    """Return the wallets, their purses, and the versions of the programmes these are of."""
    wallets: dict[UUID, Holder] = {}
    purses: dict[UUID, list[Purse]] = {}
    versions: dict[UUID, int] = {}
    for row in await connection.fetch(_FIND_WALLETS, list(wallet_ids)):
        (wallet_id, state, payment_limit, daily_limit, account_id, programme_id, *purse) = row
        if wallet_id not in wallets:
            wallets[wallet_id] = Holder(wallet_id, state, payment_limit, daily_limit)
            purses[wallet_id] = []
        if account_id is not None:
            funding, expires_on, versions[programme_id] = purse
            purses[wallet_id].append(Purse(account_id, programme_id, funding, expires_on))
    return wallets, purses, versions


_encode = msgspec.json.Encoder().encode


async def record(
    connection: Connection,
    payments: Sequence[Payment],
    keys: Sequence[str],
    spent_yen: Mapping[UUID, int],
    *,
    now: datetime,
    day: date,
) -> None:
    """Write new payments with their idempotency keys, and what their holders have now spent."""
    await connection.execute(
        _RECORD,
        [p.id for p in payments],
        [p.merchant_id for p in payments],
        [p.merchant_payment_id for p in payments],
        [p.shop_id for p in payments],
        [p.terminal_id for p in payments],
        array_literal([p.amount_yen for p in payments]),
        [p.instrument for p in payments],
        [p.instrument_hash for p in payments],
        [p.description for p in payments],
        [None if p.refusal is None else _encode(p.refusal).decode() for p in payments],
        [p.wallet_id for p in payments],
        keys,
        list(spent_yen),
        array_literal(spent_yen.values()),
        now,
        day,
    )


async def insert_keys(
    connection: Connection, keys: Sequence[tuple[UUID, str, UUID]], *, now: datetime
) -> None:
    """Write that further keys have led to payments that were there already."""
    if keys:
        await connection.execute(_INSERT_KEYS, *map(list, zip(*keys, strict=True)), now)
