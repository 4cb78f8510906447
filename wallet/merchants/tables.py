"""Merchants, their shops, the terminals in them, and the keys their systems call with."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
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

merchant = Table(
    "merchant",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("joined_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("state IN ('active', 'suspended')", name="state"),
)

shop = Table(
    "shop",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("merchant_id", UUID, ForeignKey("merchant.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("small", Boolean, nullable=False, comment="counts as a small shop in programmes"),
    Column("payable_account_id", UUID, ForeignKey("account.id"), nullable=False),
    Column(
        "chain",
        Boolean,
        nullable=False,
        server_default="false",
        comment="one of a chain's, where a bonus tells sizes apart",
    ),
    Index("ix_shop_merchant_id", "merchant_id"),
    CheckConstraint("NOT (small AND chain)", name="chain_is_not_small"),
)

terminal = Table(
    "terminal",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("shop_id", UUID, ForeignKey("shop.id"), nullable=False),
    Column("state", Text, nullable=False),
    Index("ix_terminal_shop_id", "shop_id"),
    CheckConstraint("state IN ('active', 'retired')", name="state"),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("merchant_id", UUID, ForeignKey("merchant.id"), nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    UniqueConstraint("key_hash"),
    Index("ix_api_key_merchant_id", "merchant_id"),
)
