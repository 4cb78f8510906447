"""Seals: a chain of hashes over ranges of transfers, so that nothing booked can change unseen.

A seal covers the transfers with ``from_timestamp <= timestamp < to_timestamp``. The ranges begin
at 0 and follow each other without a gap, so every transfer older than the last one belongs to
exactly one. The last hash, published elsewhere, vouches for everything before it.

**What is hashed.** A transfer is 120 bytes, numbers big-endian and an absent id 16 zero bytes::

    id 16 | debit_account_id 16 | credit_account_id 16 | amount 8 | ledger 4 | code 2 | flags 2 |
    pending_id 16 | user_data_128 16 | user_data_64 8 | user_data_32 4 | timeout_s 4 | timestamp 8

A seal's hash is the BLAKE2b with 32 bytes (RFC 7693; ``b2sum -l 256``) of the previous hash (zeros
before the first), its number, from_timestamp, to_timestamp and count of transfers, 8 bytes each,
and its transfers in the order of (timestamp, id). Beside it stand ``fingerprints``: of each
transfer the id and the BLAKE2b with 8 bytes. They add no strength; they let a broken seal say
which transfer was changed, removed or added.

**Why the horizon is safe.** No transfer may appear in a range once it is sealed. A batch reads its
clock only after its transaction has its number (its first statement locks a row, which takes
a number), and gives no transfer an earlier timestamp than that reading. So::

    1  the caller reads the clock: now
    2  we take a transaction number of our own: X
    3  we wait for a snapshot in which every number up to X is finished

Any batch with a number below X is finished, so the snapshot shows all it wrote. Any batch with a
number above X got it after step 2, hence read its clock after step 1 and writes nothing earlier
than ``now``. In the snapshot of step 3 everything before ``now`` is final. That counts on one
clock; several machines' clocks differ, and so the horizon is :data:`CLOCK_ALLOWANCE_US` before
``now``. A transaction that stays open delays sealing and never makes it wrong.
"""

import asyncio
import hashlib
import struct
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import MICROSECONDS
from wallet.core.database import read, write

CLOCK_ALLOWANCE_US: Final = 5 * MICROSECONDS
"""How far apart the clocks of the processes that book may be, or step back."""

TRANSFERS_MAX: Final = 10_000
"""Transfers in one range; more only when the last ones share a timestamp."""

WAIT_S: Final = 2.0
"""How long to wait for transactions that are under way; a batch takes milliseconds."""

FIRST_PREVIOUS_HASH: Final = bytes(32)

TRANSFER_BYTES: Final = 120
FINGERPRINT: Final = struct.Struct(">16s8s")

_WAIT_STEP_S: Final = 0.02
_HEADER: Final = struct.Struct(">QQQQ")

_TAKE_NUMBER: Final = text("SELECT pg_current_xact_id()::text::bigint")
_OLDEST_RUNNING: Final = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")

ENCODED: Final = """
uuid_send(id) || uuid_send(debit_account_id) || uuid_send(credit_account_id)
|| int8send(amount) || int4send(ledger) || int2send(code) || int2send(flags)
|| coalesce(uuid_send(pending_id), :no_id) || coalesce(uuid_send(user_data_128), :no_id)
|| int8send(user_data_64) || int4send(user_data_32) || int4send(timeout_s) || int8send(timestamp)
"""

# WITH TIES, because transfers of batches side by side may share a timestamp and are not parted.
# Rows come from the index of timestamps in their order, so only what fits the limit is read.
_READ: Final = text(f"""
SELECT count(*), max(timestamp), string_agg({ENCODED}, ''::bytea ORDER BY timestamp, id)
FROM (
    SELECT * FROM transfer WHERE timestamp >= :from AND timestamp < :to
    ORDER BY timestamp FETCH FIRST (CAST(:limit AS bigint)) ROWS WITH TIES
) AS t
""")  # noqa: S608 - constants all

_IN_ORDER: Final = (
    "SET LOCAL enable_seqscan = off",
    "SET LOCAL enable_bitmapscan = off",
    "SET LOCAL max_parallel_workers_per_gather = 0",
)

_COLUMNS: Final = "number, from_timestamp, to_timestamp, transfers, previous_hash, hash, sealed_at"
_LAST: Final = text(
    f"SELECT {_COLUMNS} FROM seal ORDER BY number DESC LIMIT 1"  # noqa: S608 - constants all
)
_INSERT: Final = text("""
INSERT INTO seal (number, from_timestamp, to_timestamp, transfers, previous_hash, hash, sealed_at,
                  fingerprints)
VALUES (:number, :from_timestamp, :to_timestamp, :transfers, :previous_hash, :hash, :sealed_at,
        :fingerprints)
ON CONFLICT (number) DO NOTHING
""")


class Seal(msgspec.Struct, frozen=True):
    """A sealed range: the transfers from ``from_timestamp`` to just before ``to_timestamp``."""

    number: int
    from_timestamp: int
    to_timestamp: int
    transfers: int
    previous_hash: bytes
    hash: bytes
    sealed_at: int


class Range(msgspec.Struct, frozen=True):
    """A range as it is read: how many transfers it has, and all of them as they are hashed."""

    to_timestamp: int
    transfers: int
    encoded: bytes


async def seal(
    engine: AsyncEngine,
    *,
    now_us: int,
    transfers_max: int = TRANSFERS_MAX,
    wait_s: float = WAIT_S,
) -> Seal | None:
    """Seal the next range and return it; None when there is nothing old enough to seal yet.

    ``now_us`` must have been read before the call. None also when a transaction that may still
    write earlier transfers did not end within ``wait_s``, or when another process has sealed the
    same range: the next call goes on from there.
    """
    if not await _settled(engine, wait_s=wait_s):
        return None
    frozen = engine.execution_options(isolation_level="REPEATABLE READ")

    async def seal_next(connection: AsyncConnection) -> Seal | None:
        return await _seal_next(connection, now_us=now_us, transfers_max=transfers_max)

    return await write(frozen, seal_next)


async def _settled(engine: AsyncEngine, *, wait_s: float) -> bool:
    """Take a number and wait until no transaction with a smaller one is under way."""
    async with read(engine) as connection:
        own = (await connection.execute(_TAKE_NUMBER)).scalar_one()
    steps = max(1, int(wait_s / _WAIT_STEP_S))
    for _ in range(steps):
        async with read(engine) as connection:
            oldest = (await connection.execute(_OLDEST_RUNNING)).scalar_one()
        if oldest > own:
            return True
        await asyncio.sleep(_WAIT_STEP_S)
    return False


async def _seal_next(
    connection: AsyncConnection, *, now_us: int, transfers_max: int
) -> Seal | None:
    await read_in_order(connection)
    row = (await connection.execute(_LAST)).one_or_none()
    last = None if row is None else Seal(*row)
    start, horizon = 0 if last is None else last.to_timestamp, now_us - CLOCK_ALLOWANCE_US
    found = await read_range(connection, start, horizon, limit=transfers_max)
    if found.transfers == 0:
        return None
    sealed = _sealed(last, found, now_us=now_us)
    values = msgspec.structs.asdict(sealed) | {"fingerprints": fingerprints(found.encoded)}
    result = await connection.execute(_INSERT, values)
    return sealed if result.rowcount == 1 else None


async def read_in_order(connection: AsyncConnection) -> None:
    """Have the transaction read transfers by the index of timestamps, whatever statistics say."""
    for setting in _IN_ORDER:
        await connection.execute(text(setting))


async def read_range(connection: AsyncConnection, start: int, to: int, *, limit: int) -> Range:
    """Read the transfers from ``start`` to just before ``to``, or the first ``limit`` of them.

    Those that share the last one's timestamp are read as well, so the range may have a few more;
    it then ends right after them.
    """
    values = {"from": start, "to": to, "limit": limit, "no_id": bytes(16)}
    transfers, latest, encoded = (await connection.execute(_READ, values)).one()
    return Range(to if transfers < limit else latest + 1, transfers, encoded or b"")


def _sealed(last: Seal | None, found: Range, *, now_us: int) -> Seal:
    number = 1 if last is None else last.number + 1
    start = 0 if last is None else last.to_timestamp
    previous_hash = FIRST_PREVIOUS_HASH if last is None else last.hash
    return Seal(
        number=number,
        from_timestamp=start,
        to_timestamp=found.to_timestamp,
        transfers=found.transfers,
        previous_hash=previous_hash,
        hash=chain_hash(previous_hash, number, start, found),
        sealed_at=now_us,
    )


def chain_hash(previous_hash: bytes, number: int, from_timestamp: int, found: Range) -> bytes:
    """Return the hash of a range that begins at ``from_timestamp``, as the module describes."""
    header = _HEADER.pack(number, from_timestamp, found.to_timestamp, found.transfers)
    return hashlib.blake2b(previous_hash + header + found.encoded, digest_size=32).digest()


def fingerprints(encoded: bytes) -> bytes:
    """Return each transfer's id and 8 bytes of its hash, in order."""
    transfers = (
        encoded[start : start + TRANSFER_BYTES] for start in range(0, len(encoded), TRANSFER_BYTES)
    )
    return b"".join(
        one[:16] + hashlib.blake2b(one, digest_size=FINGERPRINT.size - 16).digest()
        for one in transfers
    )
