"""Buying vouchers: what is on sale, and who has reserved, paid for and received how much of it."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from wallet.core.database import metadata

# One row that every buyer of a programme changes: kept on its page, and cleaned up all the time.
stock = Table(
    "stock",
    metadata,
    Column("programme_id", UUID, ForeignKey("programme.id"), primary_key=True),
    Column("mode", Text, nullable=False),
    Column("units_total", Integer, nullable=False),
    Column("units_reserved", Integer, nullable=False, server_default="0"),
    Column("units_sold", Integer, nullable=False, server_default="0"),
    Column("opens_at", DateTime(timezone=True), nullable=False),
    Column("closes_at", DateTime(timezone=True), nullable=False),
    Column("pay_within_s", Integer, nullable=False, comment="how long units are kept for a buyer"),
    Column("min_tier", Text, nullable=False),
    Column("residents_only", Boolean, nullable=False),
    CheckConstraint("mode IN ('offered', 'first_come')", name="mode"),
    CheckConstraint(
        "units_reserved >= 0 AND units_sold >= 0 AND units_reserved + units_sold <= units_total",
        name="not_one_oversold",
    ),
    CheckConstraint("opens_at < closes_at", name="period"),
    CheckConstraint("pay_within_s BETWEEN 600 AND 2592000", name="pay_within"),
    CheckConstraint("min_tier IN ('T0', 'T1', 'T2', 'T3')", name="min_tier"),
    comment="Units of a voucher that are on sale.",
    postgresql_with={
        "fillfactor": 10,
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_threshold": 1000,
        "autovacuum_vacuum_cost_delay": 0,
    },
)

# No foreign keys to rows that every buyer would touch: the batch has read all of them before.
purchase = Table(
    "purchase",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("programme_id", UUID, nullable=False),
    Column("wallet_id", UUID, nullable=False),
    Column("person_id", UUID, nullable=False, comment="who buys: the holder or their guardian"),
    Column("idempotency_key", Text, nullable=False),
    Column("units", Integer, nullable=False),
    Column("price_yen", BigInteger, nullable=False),
    Column("face_yen", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("application_id", UUID, comment="of the offer that was taken up; NULL: first come"),
    Column("round", SmallInteger),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("deadline", DateTime(timezone=True), nullable=False, comment="to be paid before"),
    Column("receipt_order_id", UUID, comment="the last one that was made for it"),
    Column("ended_at", DateTime(timezone=True), comment="issued, lapsed or cancelled"),
    Column("held_because", Text, comment="paid for, but its issue was refused: the last reason"),
    UniqueConstraint("wallet_id", "idempotency_key"),
    Index("ix_purchase_wallet_id_programme_id", "wallet_id", "programme_id"),
    Index("ix_purchase_deadline", "deadline", postgresql_where=text("state = 'reserved'")),
    CheckConstraint("units > 0", name="units_positive"),
    CheckConstraint("0 < price_yen AND price_yen <= face_yen", name="price_and_face"),
    CheckConstraint(
        "state IN ('reserved', 'issued', 'lapsed', 'cancelled')",
        name="state",
    ),
    CheckConstraint("(state = 'reserved') = (ended_at IS NULL)", name="ended_says_when"),
    CheckConstraint("(application_id IS NULL) = (round IS NULL)", name="offer_is_whole"),
)
