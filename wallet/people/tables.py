"""Wallets, their purses, their cards, and the one row a day's spending is counted in."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import UUID

from wallet.core.database import metadata

wallet = Table(
    "wallet",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("payment_limit_yen", BigInteger, nullable=False),
    Column("daily_limit_yen", BigInteger, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("holder IN ('resident', 'visitor')", name="holder"),
    CheckConstraint("state IN ('active', 'frozen', 'closed')", name="state"),
    CheckConstraint("payment_limit_yen >= 0 AND daily_limit_yen >= 0", name="limits"),
)

purse = Table(
    "purse",
    metadata,
    Column("account_id", UUID, ForeignKey("account.id"), primary_key=True),
    Column("wallet_id", UUID, ForeignKey("wallet.id"), nullable=False),
    Column("programme_id", UUID, ForeignKey("programme.id"), nullable=False),
    Column("funding", Text, nullable=False),
    Column("expires_on", Date, nullable=False, comment="last day it may be spent, in Japan"),
    UniqueConstraint("wallet_id", "programme_id", "funding", "expires_on"),
    CheckConstraint("funding IN ('paid', 'premium', 'free')", name="funding"),
)

card = Table(
    "card",
    metadata,
    Column("id", UUID, primary_key=True),
    Column(
        "printed_number",
        Text,
        nullable=False,
        comment="12 digits to read out; names the card and pays nothing",
    ),
    Column("number_hash", LargeBinary, nullable=False),
    Column("wallet_id", UUID, ForeignKey("wallet.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("payment_limit_yen", BigInteger, nullable=False),
    Column("daily_limit_yen", BigInteger, nullable=False),
    Column("issued_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("printed_number"),
    UniqueConstraint("number_hash"),
    Index("ix_card_wallet_id", "wallet_id"),
    CheckConstraint("printed_number ~ '^[0-9]{12}$'", name="printed_number"),
    CheckConstraint("state IN ('active', 'blocked', 'replaced')", name="state"),
    CheckConstraint("payment_limit_yen >= 0 AND daily_limit_yen >= 0", name="limits"),
)

# The holder is a wallet or a card. Whoever moves money out of a wallet locks its row here first,
# so two payments of one wallet are never decided side by side, whatever purses they draw on.
spending = Table(
    "spending",
    metadata,
    Column("holder_id", UUID, primary_key=True),
    Column("spent_on", Date, nullable=False, comment="the day in Japan that spent_yen is of"),
    Column("spent_yen", BigInteger, nullable=False),
    CheckConstraint("spent_yen >= 0", name="not_negative"),
    postgresql_with={
        "fillfactor": 50,
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_threshold": 5000,
        "autovacuum_vacuum_cost_delay": 0,
    },
)
