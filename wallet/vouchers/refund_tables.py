"""Refunds to those who bought a programme's money, decided by the office."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from wallet.core.database import metadata

buyer_refund = Table(
    "buyer_refund",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("programme_id", UUID, ForeignKey("programme.id"), nullable=False),
    Column("wallet_id", UUID, ForeignKey("wallet.id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("refusal", Text),
    Column("paid_yen", BigInteger, comment="to be given to the buyer"),
    Column("premium_yen", BigInteger, comment="back in the budget"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("settled_at", DateTime(timezone=True)),
    Index("ix_buyer_refund_decided", "id", postgresql_where=text("state = 'decided'")),
    Index("ix_buyer_refund_programme_id", "programme_id", "settled_at"),
    CheckConstraint(
        "reason IN ('moving_away', 'leaving_japan', 'defect', 'closure')", name="reason"
    ),
    CheckConstraint("state IN ('decided', 'done', 'refused')", name="state"),
    CheckConstraint(
        "(state = 'decided') = (settled_at IS NULL)"
        " AND (state = 'refused') = (refusal IS NOT NULL)"
        " AND (state = 'done') = (paid_yen IS NOT NULL)"
        " AND (state = 'done') = (premium_yen IS NOT NULL)",
        name="settled",
    ),
    comment="Decided by two; the worker takes the money out of the purses.",
)
