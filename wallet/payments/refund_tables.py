"""Refunds of payments, append-only as the payments they give back."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import UUID

from wallet.core.database import metadata

refund = Table(
    "refund",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("payment_id", UUID, nullable=False),
    Column("merchant_id", UUID, nullable=False),
    Column("merchant_refund_id", Text, nullable=False),
    Column("amount_yen", BigInteger, nullable=False),
    Column("reason", Text),
    Column("bonus_taken_yen", BigInteger, nullable=False, comment="went back to its budget"),
    Column(
        "bonus_missing_yen",
        BigInteger,
        nullable=False,
        comment="was to go back too, and had been spent",
    ),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("merchant_id", "merchant_refund_id"),
    Index("ix_refund_payment_id", "payment_id"),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    CheckConstraint("bonus_taken_yen >= 0 AND bonus_missing_yen >= 0", name="bonus"),
)
