"""The SQL of paying: set-based reads before a batch decides, inserts before it commits.

Rows are locked in this order everywhere: payments that wait, codes, challenges, then holders'
spending, then ledger balances; within each, by id. Nothing is locked that the batch does not
change.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace

from wallet.core.database import Connection, array_literal
from wallet.core.refusals import Refusal
from wallet.ledger.storage import LostRowsError
from wallet.payments.extras import Extras
from wallet.payments.extras_storage import IS_COUNTED, give, values_of
from wallet.payments.rules import (
    CARD,
    CPM_CODE,
    Discount,
    Earned,
    Holder,
    Part,
    Payment,
    PayRequest,
    Waiting,
)
from wallet.people.tiers import limits_of
from wallet.programmes.rules import Purse, Shop

# Statements here are planned once, often while the tables are still empty, and must stay right
# when they are large. A subquery with OFFSET 0 and a comparison with ANY (ARRAY[…]) leave the
# planner nothing but a look-up by key; a plain join would let it read the whole table instead.

# What the requests name by themselves, in one round trip: earlier payments by the request's number
# in the batch, and terminals. A row is one or the other.
_FIND_NAMED = """
SELECT asked.n, k.payment_id, p.id, NULL::uuid, NULL::uuid, NULL::boolean, NULL::boolean,
       NULL::uuid, NULL::uuid, NULL::text, NULL::boolean, NULL::boolean
FROM unnest($1::uuid[], $2::text[], $3::text[])
     WITH ORDINALITY AS asked (merchant_id, key, merchant_payment_id, n)
LEFT JOIN LATERAL (
    SELECT payment_id FROM idempotency_key
    WHERE principal_id = asked.merchant_id AND key = asked.key OFFSET 0
) AS k ON true
LEFT JOIN LATERAL (
    SELECT id FROM payment
    WHERE merchant_id = asked.merchant_id AND merchant_payment_id = asked.merchant_payment_id
    UNION ALL
    SELECT id FROM pending_payment
    WHERE merchant_id = asked.merchant_id AND merchant_payment_id = asked.merchant_payment_id
      AND decided_at IS NULL
    OFFSET 0
) AS p ON true
WHERE k.payment_id IS NOT NULL OR p.id IS NOT NULL
UNION ALL
SELECT NULL, NULL, NULL, t.id, s.merchant_id, t.state = 'active', m.state = 'active',
       s.payable_account_id, s.id, s.category, s.small, s.chain
FROM terminal AS t
JOIN shop AS s ON s.id = ANY (ARRAY[t.shop_id])
JOIN merchant AS m ON m.id = ANY (ARRAY[s.merchant_id])
WHERE t.id = ANY($4::uuid[])
"""

# One statement, so that a payment is seen as it waits or as it was decided, and never in between.
# JSON as text, because SQLAlchemy teaches its connections to decode it and the teller's get it as
# is. What was decided without a payment was overtaken by another one of the same name, and expired.
_LOAD_PAYMENTS = """
SELECT p.id, p.merchant_id, p.merchant_payment_id, p.shop_id, p.terminal_id, p.amount_yen,
       p.instrument, p.instrument_hash, p.description, p.refusal::text, p.wallet_id,
       coalesce(w.created_at, p.created_at) AS created_at, p.asked_by, p.helper_id,
       NULL::timestamptz AS expires_at, NULL::text AS number
FROM payment AS p LEFT JOIN pending_payment AS w ON w.id = ANY (ARRAY[p.id])
WHERE p.id = ANY($1::uuid[])
UNION ALL
SELECT w.id, w.merchant_id, w.merchant_payment_id, w.shop_id, w.terminal_id, w.amount_yen,
       w.instrument, w.instrument_hash, w.description,
       CASE WHEN w.decided_at IS NOT NULL THEN '{"code": "confirmation_expired"}' END, w.wallet_id,
       w.created_at, NULL, w.helper_id, CASE WHEN w.decided_at IS NULL THEN w.expires_at END,
       s.number_match
FROM pending_payment AS w JOIN step_up AS s ON s.id = ANY (ARRAY[w.id])
WHERE w.id = ANY($1::uuid[])
  AND NOT EXISTS (SELECT FROM payment AS p WHERE p.id = ANY (ARRAY[w.id]) OFFSET 0)
"""

# A payment's transfers have its id + 1 … + 15, so its parts are one short range of the key.
_LOAD_PARTS = """
SELECT asked.id, g.code, p.funding, t.amount, coalesce(g.terms->>'kind' = 'benefit', false)
FROM unnest($1::uuid[], $2::uuid[]) AS asked (id, last_id)
CROSS JOIN LATERAL (
    SELECT id, debit_account_id, amount FROM transfer
    WHERE transfer.id > asked.id AND transfer.id <= asked.last_id OFFSET 0
) AS t
JOIN purse AS p ON p.account_id = ANY (ARRAY[t.debit_account_id])
JOIN programme AS g ON g.id = ANY (ARRAY[p.programme_id])
ORDER BY t.id
"""

# What a payment brought besides, and what a coupon took off it; the bonus has an id in its range.
_LOAD_EXTRAS = """
SELECT asked.id, g.code, b.amount_yen, b.usable_on, NULL::text
FROM unnest($1::uuid[], $2::uuid[]) AS asked (id, last_id)
CROSS JOIN LATERAL (
    SELECT id, programme_id, amount_yen, usable_on FROM bonus_grant
    WHERE bonus_grant.id > asked.id AND bonus_grant.id <= asked.last_id ORDER BY id OFFSET 0
) AS b
JOIN programme AS g ON g.id = ANY (ARRAY[b.programme_id])
UNION ALL
SELECT payment_id, NULL, amount_yen, NULL, coupon FROM coupon_use
WHERE payment_id = ANY($1::uuid[])
"""

# Cards, which bear a number, and codes, which are locked. A code has the phone it was given to, as
# that phone and its owner are by now, and the proxy whose it is, if any.
_FIND_INSTRUMENTS = """
SELECT code.code_hash, code.wallet_id, NULL, h.id,
       CASE WHEN h.revoked_at IS NULL AND h.kind = 'proxy' THEN 'active' ELSE 'revoked' END,
       h.payment_limit_yen, h.daily_limit_yen, code.expires_at, code.burnt_by, code.acr,
       code.authenticated_at, d.id, d.principal_id, d.app_version,
       greatest(d.cooling_until, o.cooling_until), d.revoked_at IS NULL, o.state = 'active'
FROM (
    SELECT code_hash, wallet_id, expires_at, burnt_by, device_id, helper_id, acr, authenticated_at
    FROM one_time_code
    WHERE code_hash = ANY($1::bytea[]) ORDER BY code_hash FOR NO KEY UPDATE
) AS code
LEFT JOIN device AS d ON d.id = ANY (ARRAY[code.device_id])
LEFT JOIN person AS o ON o.id = ANY (ARRAY[d.principal_id])
LEFT JOIN helper AS h ON h.id = ANY (ARRAY[code.helper_id])
UNION ALL
SELECT number_hash, wallet_id, printed_number, id, state, payment_limit_yen, daily_limit_yen,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM card WHERE number_hash = ANY($2::bytea[])
"""

_LOCK_SPENDING = """
SELECT holder_id, spent_on, spent_yen FROM spending
WHERE holder_id = ANY($1::uuid[]) ORDER BY holder_id FOR NO KEY UPDATE
"""

# A wallet is frozen with its person. Purses that have ended are emptied for good, and years of them
# would be locked with every payment.
_FIND_WALLETS = """
SELECT w.id, CASE WHEN o.state <> 'active' THEN 'frozen' ELSE w.state END,
       w.payment_limit_yen, w.daily_limit_yen, w.tier, w.person_id, o.cooling_until, w.coupon,
       p.account_id, p.programme_id, p.funding, p.expires_on, g.version
FROM wallet AS w
LEFT JOIN person AS o ON o.id = ANY (ARRAY[w.person_id])
LEFT JOIN purse AS p ON p.wallet_id = ANY (ARRAY[w.id]) AND p.ended_at IS NULL
LEFT JOIN programme AS g ON g.id = ANY (ARRAY[p.programme_id])
WHERE w.id = ANY($1::uuid[])
"""

# A payment and all that follows from it, in one round trip: its row, the key it was asked for
# with, the code it used up, what its holders have now spent, and the event for the outside. A code
# scanned twice in one batch belongs to the first scan; the second was told it is used. A payment
# that waited has its key and its code from then.
_RECORD = """
WITH new AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[],
                         $6::text::bigint[], $7::text[], $8::bytea[], $9::text[], $10::jsonb[],
                         $11::uuid[], $12::text[], $17::uuid[], $18::uuid[])
    AS t (id, merchant_id, merchant_payment_id, shop_id, terminal_id, amount_yen,
          instrument, instrument_hash, description, refusal, wallet_id, key, asked_by, helper_id)
), paid AS (
    INSERT INTO payment (id, merchant_id, merchant_payment_id, shop_id, terminal_id, amount_yen,
                         instrument, instrument_hash, description, refusal, wallet_id, asked_by,
                         helper_id, state, created_at)
    SELECT id, merchant_id, merchant_payment_id, shop_id, terminal_id, amount_yen,
           instrument, instrument_hash, description, refusal, wallet_id, asked_by, helper_id,
           CASE WHEN refusal IS NULL THEN 'succeeded' ELSE 'declined' END, $15
    FROM new
), keyed AS (
    INSERT INTO idempotency_key (principal_id, key, payment_id, created_at)
    SELECT coalesce(asked_by, merchant_id), key, id, $15 FROM new WHERE key IS NOT NULL
), burnt AS (
    UPDATE one_time_code AS c SET burnt_by = new.id FROM new
    WHERE new.instrument = 'cpm_code' AND new.key IS NOT NULL
      AND c.code_hash = ANY (ARRAY[new.instrument_hash])
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

# The same with the bonuses that payments have brought.
_RECORD_GIVING = (
    _RECORD.replace("\nUPDATE spending", f", {give(19)}\nUPDATE spending")
    + f"  AND {IS_COUNTED.format(37)}"
)

_INSERT_KEYS = """
INSERT INTO idempotency_key (principal_id, key, payment_id, created_at)
SELECT principal_id, key, payment_id, $4
FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS new (principal_id, key, payment_id)
"""


Repeats = dict[tuple[UUID, str], Payment]


class TerminalFacts(msgspec.Struct, frozen=True, gc=False):
    """A terminal, the shop it stands in and the account its takings go to."""

    id: UUID
    merchant_id: UUID
    active: bool
    merchant_active: bool
    payable_account_id: UUID
    shop: Shop


class CodeFacts(msgspec.Struct, frozen=True, gc=False):
    """A one-time code as it was before the batch.

    ``acr`` is the level that its phone had reached when it was given out; phone and proxy are as
    they are now.
    """

    wallet_id: UUID
    expires_at: datetime
    burnt_by: UUID | None
    acr: str | None = None
    authenticated_at: datetime | None = None
    phone: "PhoneFacts | None" = None
    proxy: Holder | None = None


class PhoneFacts(msgspec.Struct, frozen=True, gc=False):
    """A phone that money is asked for with, and whether it and its owner still may."""

    device_id: UUID
    principal_id: UUID
    app_version: str
    cooling_until: datetime | None
    is_enrolled: bool
    is_owner_active: bool | None


class CardFacts(msgspec.Struct, frozen=True, gc=False):
    """A card, its wallet, its own ceilings and the number printed on it."""

    wallet_id: UUID
    holder: Holder
    number: str


async def find_named(
    connection: Connection, requests: Sequence[PayRequest], *, terminal_ids: Iterable[UUID] = ()
) -> tuple[Repeats, Repeats, dict[UUID, TerminalFacts]]:
    """Return what the requests name by themselves.

    Earlier payments by (owner, key) and by (merchant, merchant_payment_id), and the terminals
    that exist, whoever's they are; those of ``terminal_ids`` as well.
    """
    repeats = []
    terminals = {}
    for row in await connection.fetch(
        _FIND_NAMED,
        [request.owner_id for request in requests],
        [request.idempotency_key for request in requests],
        [request.merchant_payment_id for request in requests],
        list({request.terminal_id for request in requests}.union(terminal_ids)),
    ):
        (number, keyed_id, own_id, terminal_id, owner, active, owner_active, payable, *shop) = row
        if number is None:
            terminals[terminal_id] = TerminalFacts(
                terminal_id, owner, active, owner_active, payable, Shop(*shop)
            )
        else:
            repeats.append((requests[number - 1], keyed_id, own_id))
    by_key: Repeats = {}
    by_merchant_id: Repeats = {}
    if repeats:
        payments = await load_payments(connection, {i for one in repeats for i in one[1:] if i})
        for request, keyed_id, own_id in repeats:
            if keyed_id:
                by_key[request.owner_id, request.idempotency_key] = payments[keyed_id]
            if own_id:
                own_key = (request.merchant_id, request.merchant_payment_id)
                by_merchant_id[own_key] = payments[own_id]
    return by_key, by_merchant_id, terminals


async def load_payments(
    connection: Connection, payment_ids: Collection[UUID]
) -> dict[UUID, Payment]:
    """Return the payments with what they drew on, by id; those that wait, as they wait."""
    ids = list(payment_ids)
    rows = await connection.fetch(_LOAD_PAYMENTS, ids)
    last_ids = [UUID(int=identifier.int | 15) for identifier in ids]
    parts: dict[UUID, list[Part]] = {}
    for payment_id, *part in await connection.fetch(_LOAD_PARTS, ids, last_ids):
        parts.setdefault(payment_id, []).append(Part(*part))
    payments = {row["id"]: _payment_from(row, parts.get(row["id"], ())) for row in rows}
    for payment_id, programme, amount_yen, usable_on, coupon in await connection.fetch(
        _LOAD_EXTRAS, ids, last_ids
    ):
        payment = payments[payment_id]
        if coupon is not None:
            payments[payment_id] = replace(payment, discount=Discount(coupon, amount_yen))
        else:
            earned = Earned(programme, amount_yen, usable_on)
            payments[payment_id] = replace(payment, earned=(*payment.earned, earned))
    return payments


def _payment_from(row: asyncpg.Record, parts: Iterable[Part]) -> Payment:
    values = dict(row)
    refusal, expires_at, number = (values.pop(name) for name in ("refusal", "expires_at", "number"))
    parsed = None if refusal is None else msgspec.json.decode(refusal, type=Refusal)
    if expires_at is not None:
        return Payment(**values, refusal=None, waiting=Waiting(expires_at, number))
    return Payment(**values, refusal=parsed, parts=tuple(parts))


async def find_instruments(
    connection: Connection, requests: Sequence[PayRequest]
) -> tuple[dict[bytes, CodeFacts], dict[bytes, CardFacts]]:
    """Lock the codes and read the cards that the requests present."""
    codes = {}
    cards = {}
    for row in await connection.fetch(
        _FIND_INSTRUMENTS,
        list({r.instrument_hash for r in requests if r.instrument == CPM_CODE}),
        list({r.instrument_hash for r in requests if r.instrument == CARD}),
    ):
        (shown, wallet_id, number, holder_id, state, payment_limit, daily_limit, *code) = row
        holder = None
        if holder_id is not None:
            holder = Holder(holder_id, state, payment_limit, daily_limit)
        if number is not None and holder is not None:
            cards[shown] = CardFacts(wallet_id, holder, number)
            continue
        (expires_at, burnt_by, acr, authenticated_at, device_id, *phone) = code
        codes[shown] = CodeFacts(
            wallet_id,
            expires_at,
            burnt_by,
            acr,
            authenticated_at,
            None if device_id is None else PhoneFacts(device_id, *phone),
            holder,
        )
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
        wallet_id = row[0]
        (account_id, programme_id, *purse) = row[8:]
        if wallet_id not in wallets:
            wallets[wallet_id] = _wallet(row[:8])
            purses[wallet_id] = []
        if account_id is not None:
            funding, expires_on, versions[programme_id] = purse
            purses[wallet_id].append(Purse(account_id, programme_id, funding, expires_on))
    return wallets, purses, versions


def _wallet(row: Sequence[Any]) -> Holder:
    """Return a wallet under its own ceilings; a person's is under those of their tier as well."""
    wallet_id, state, payment_limit_yen, daily_limit_yen, tier, person_id, *rest = row
    if person_id is not None:
        limits = limits_of(tier)
        payment_limit_yen = min(payment_limit_yen, limits.payment_yen)
        daily_limit_yen = min(daily_limit_yen, limits.day_yen)
    return Holder(wallet_id, state, payment_limit_yen, daily_limit_yen, tier, person_id, *rest)


_encode = msgspec.json.Encoder().encode


async def record(
    connection: Connection,
    payments: Sequence[Payment],
    keys: Sequence[str | None],
    spent_yen: Mapping[UUID, int],
    *,
    now: datetime,
    day: date,
    extras: Extras | None = None,
) -> None:
    """Write payments that were decided with their keys, and what their holders have now spent.

    A payment whose key has led to it before has None. Raises
    :class:`~wallet.ledger.storage.LostRowsError` when what is counted of bonuses and coupons has
    changed since it was read.
    """
    values: list[Any] = [
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
        [p.asked_by for p in payments],
        [p.helper_id for p in payments],
    ]
    if extras is None or not (extras.new_grants or extras.new_uses):
        await connection.execute(_RECORD, *values)
        return
    values += values_of(extras.new_grants, extras.totals, now=now)
    status = await connection.execute(_RECORD_GIVING, *values)
    if status != f"UPDATE {len(spent_yen)}":
        message = "somebody else has counted a bonus or coupon of the same person meanwhile"
        raise LostRowsError(message)


async def insert_keys(
    connection: Connection, keys: Sequence[tuple[UUID, str, UUID]], *, now: datetime
) -> None:
    """Write that further keys have led to payments that were there already."""
    if keys:
        await connection.execute(_INSERT_KEYS, *map(list, zip(*keys, strict=True)), now)
