"""What becomes of purses: longer days that were decided, and what holders were reminded of."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from wallet.core.database import metadata

purse_extension = Table(
    "purse_extension",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("programme_id", UUID, ForeignKey("programme.id"), nullable=False),
    Column("from_day", Date, nullable=False, comment="last day of the purses until now"),
    Column("to_day", Date, nullable=False, comment="their last day from now on"),
    Column("reason", Text, nullable=False),
    Column("extended", BigInteger, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("done_at", DateTime(timezone=True)),
    Index(
        "uq_purse_extension_open",
        "programme_id",
        "from_day",
        unique=True,
        postgresql_where=text("done_at IS NULL"),
    ),
    CheckConstraint("to_day > from_day", name="later"),
    CheckConstraint("extended >= 0", name="extended"),
    comment="Decided by two; the worker gives the purses their new day.",
)

purse_reminder = Table(
    "purse_reminder",
    metadata,
    Column("wallet_id", UUID, primary_key=True),
    Column("programme_id", UUID, primary_key=True),
    Column("expires_on", Date, primary_key=True),
    Column("step_days", SmallInteger, primary_key=True),
    Column("told_at", DateTime(timezone=True), nullable=False),
    comment="What holders were reminded of, so that they are once.",
)

reminded_day = Table(
    "reminded_day",
    metadata,
    Column("day", Date, primary_key=True, comment="in Japan"),
    Column("done_at", DateTime(timezone=True), nullable=False),
    comment="Days on which everybody was reminded who was to be.",
)
