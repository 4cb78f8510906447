"""Payments, the keys they were asked for with, and one-time codes."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wallet.core.database import metadata

# No foreign keys to rows that every payment of a wallet or shop would touch: each check would
# lock a hot row. The batch has read all of them before it writes.
payment = Table(
    "payment",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("merchant_id", UUID, nullable=False),
    Column("merchant_payment_id", Text, nullable=False),
    Column("shop_id", UUID, nullable=False),
    Column("terminal_id", UUID, nullable=False),
    Column("amount_yen", BigInteger, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("instrument_hash", LargeBinary, nullable=False),
    Column("description", Text),
    Column("state", Text, nullable=False),
    Column("refusal", JSONB, comment="code and facts, when declined"),
    Column("wallet_id", UUID, comment="NULL when the instrument led to no wallet"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("merchant_id", "merchant_payment_id"),
    # For a merchant's list. The condition is always true, but only a query that repeats it can
    # use this index: while the table is new and its statistics say it is empty, the planner would
    # otherwise look single payments up here and read all of a merchant's payments for each.
    Index(
        "ix_payment_list_of_merchant", "merchant_id", "id", postgresql_where=text("amount_yen > 0")
    ),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    CheckConstraint("instrument IN ('cpm_code', 'card')", name="instrument"),
    CheckConstraint("state IN ('succeeded', 'declined')", name="state"),
    CheckConstraint("(state = 'declined') = (refusal IS NOT NULL)", name="declined_says_why"),
)

idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("principal_id", UUID, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("payment_id", UUID, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    comment="Written with the payment it led to; looked up before anything else.",
)

one_time_code = Table(
    "one_time_code",
    metadata,
    Column("code_hash", LargeBinary, primary_key=True),
    Column("wallet_id", UUID, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("burnt_by", UUID, comment="the payment whose scan reached a decision"),
    CheckConstraint("octet_length(code_hash) = 32", name="hashed"),
    postgresql_with={"fillfactor": 50},  # Every row is changed once; let it stay on its page.
)
