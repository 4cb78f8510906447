"""The ledger's tables: immutable facts apart from the one narrow row that changes.

``account`` and ``transfer`` are written once; the application's role can neither change nor
remove their rows, and triggers refuse it for everybody else. ``balance`` is what a batch locks
and updates: no index on a changing column and free space on each page, so that updates stay on
the page (HOT). Its CHECKs repeat every limit as the last line of defence.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from wallet.core.database import metadata

account = Table(
    "account",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("ledger", Integer, nullable=False),
    Column("code", SmallInteger, nullable=False),
    Column("flags", SmallInteger, nullable=False),
    Column("user_data_128", UUID),
    Column("user_data_64", BigInteger, nullable=False),
    Column("user_data_32", Integer, nullable=False),
    Column("min_available", BigInteger),
    Column("max_balance", BigInteger),
    Column("timestamp", BigInteger, nullable=False, comment="microseconds since the epoch"),
    CheckConstraint("ledger > 0 AND code > 0", name="ledger_and_code"),
)

balance = Table(
    "balance",
    metadata,
    Column("account_id", UUID, ForeignKey("account.id"), primary_key=True),
    Column("ledger", Integer, nullable=False),
    Column("code", SmallInteger, nullable=False),
    Column("flags", SmallInteger, nullable=False),
    Column("min_available", BigInteger),
    Column("max_balance", BigInteger),
    Column("closed", Boolean, nullable=False),
    Column("debits_pending", BigInteger, nullable=False),
    Column("debits_posted", BigInteger, nullable=False),
    Column("credits_pending", BigInteger, nullable=False),
    Column("credits_posted", BigInteger, nullable=False),
    Column("last_timestamp", BigInteger, nullable=False),
    Column("transfer_count", BigInteger, nullable=False),
    CheckConstraint(
        "debits_pending >= 0 AND debits_posted >= 0"
        " AND credits_pending >= 0 AND credits_posted >= 0",
        name="counters_not_negative",
    ),
    CheckConstraint(
        "flags & 2 = 0 OR debits_pending + debits_posted <= credits_posted",
        name="debits_within_credits",
    ),
    CheckConstraint(
        "flags & 4 = 0 OR credits_pending + credits_posted <= debits_posted",
        name="credits_within_debits",
    ),
    CheckConstraint(
        "min_available IS NULL OR (debits_pending = 0 AND debits_posted = 0)"
        " OR credits_posted - debits_posted - debits_pending >= min_available",
        name="min_available",
    ),
    CheckConstraint(
        "max_balance IS NULL OR credits_posted + credits_pending - debits_posted <= max_balance",
        name="max_balance",
    ),
    # Half of each page is free for new versions of its rows; the rest is swept often and early.
    postgresql_with={
        "fillfactor": 50,
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_threshold": 5000,
        "autovacuum_vacuum_cost_delay": 0,
    },
)

transfer = Table(
    "transfer",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("debit_account_id", UUID, nullable=False),
    Column("credit_account_id", UUID, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("ledger", Integer, nullable=False),
    Column("code", SmallInteger, nullable=False),
    Column("flags", SmallInteger, nullable=False),
    Column("pending_id", UUID),
    Column("user_data_128", UUID),
    Column("user_data_64", BigInteger, nullable=False),
    Column("user_data_32", Integer, nullable=False),
    Column("timeout_s", Integer, nullable=False),
    Column("timestamp", BigInteger, nullable=False, comment="microseconds since the epoch"),
    CheckConstraint("amount >= 0", name="amount_not_negative"),
    CheckConstraint("debit_account_id <> credit_account_id", name="two_accounts"),
    Index("ix_transfer_debit_account", "debit_account_id", "timestamp"),
    Index("ix_transfer_credit_account", "credit_account_id", "timestamp"),
    Index("ix_transfer_timestamp", "timestamp"),  # What seals and proofs read by; see seal.py.
    comment="Two entries by construction: what is debited here is credited there.",
    postgresql_partition_by="RANGE (id)",
)

pending_transfer = Table(
    "pending_transfer",
    metadata,
    Column("transfer_id", UUID, primary_key=True),
    Column("state", Text, nullable=False),
    Column("expires_at", BigInteger, comment="microseconds since the epoch; NULL is never"),
    Column("resolved_at", BigInteger),
    CheckConstraint("state IN ('pending', 'posted', 'voided', 'expired')", name="state"),
    CheckConstraint("(state = 'pending') = (resolved_at IS NULL)", name="resolved_once"),
    Index(
        "ix_pending_transfer_expiring",
        "expires_at",
        postgresql_where=text("state = 'pending' AND expires_at IS NOT NULL"),
    ),
    comment="What became of a hold; the transfer that opened it never changes.",
)

burnt_transfer = Table(
    "burnt_transfer",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("code", Text, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    comment="Ids that a told failure used up; a retry must never turn it into a success.",
)

seal = Table(
    "seal",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("from_timestamp", BigInteger, nullable=False),
    Column("to_timestamp", BigInteger, nullable=False),
    Column("transfers", BigInteger, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("sealed_at", BigInteger, nullable=False),
    Column(
        "fingerprints",
        LargeBinary,
        nullable=False,
        comment="of each transfer in order: its id and 8 bytes of its hash",
    ),
    CheckConstraint("from_timestamp < to_timestamp", name="range"),
    comment="A hash chain over closed ranges [from, to) of transfers.",
)
