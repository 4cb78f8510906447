"""Bonuses that were given or are set aside, what is counted against caps, and coupons used."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from wallet.core.database import metadata

# A row for each bonus, beside the payment's. As there, no foreign keys: each would lock a row that
# others want. Most rows are never touched again, and those that vest once.
bonus_grant = Table(
    "bonus_grant",
    metadata,
    Column("id", UUID, primary_key=True, comment="of its transfer"),
    Column("payment_id", UUID, comment="NULL: it is for an event, a row of bonus_due"),
    Column("programme_id", UUID, nullable=False, comment="whose budget gives it"),
    Column("rule", Text, nullable=False, comment="programme/bonus"),
    Column("wallet_id", UUID, nullable=False),
    Column("holder_id", UUID, nullable=False, comment="whom it counts for: the person or wallet"),
    Column("amount_yen", BigInteger, nullable=False),
    Column("reversed_yen", BigInteger, nullable=False, server_default="0"),
    Column("state", Text, nullable=False),
    Column("usable_on", Date, nullable=False, comment="from this day in Japan it can be spent"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index(
        "ix_bonus_grant_due",
        "usable_on",
        "id",
        postgresql_where=text("state = 'pending'"),
    ),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    CheckConstraint("reversed_yen BETWEEN 0 AND amount_yen", name="reversed"),
    CheckConstraint("state IN ('pending', 'granted', 'reversed')", name="state"),
)

# What a person had of a bonus or used of a coupon, in a month or in all; only where a cap asks. A
# coupon's uses by everybody are counted under its programme.
bonus_total = Table(
    "bonus_total",
    metadata,
    Column("holder_id", UUID, primary_key=True),
    Column("rule", Text, primary_key=True, comment="programme/bonus or programme:coupon"),
    Column("period", Text, primary_key=True, comment="such as 2026-11; empty for all of the time"),
    Column("amount_yen", BigInteger, nullable=False),
    Column("uses", Integer, nullable=False),
    CheckConstraint("amount_yen >= 0 AND uses >= 0", name="not_negative"),
    postgresql_with={"fillfactor": 50},  # Changed with every payment; let it stay on its page.
)

# Written by the rooms in which such things happen; the worker decides on them.
bonus_due = Table(
    "bonus_due",
    metadata,
    Column("id", UUID, primary_key=True, comment="aligned: its transfers are numbered after it"),
    Column("programme_id", UUID, nullable=False, comment="whose terms have the bonus"),
    Column("event", Text, nullable=False),
    Column("bonus", Text, comment="the code of the only one meant; NULL: all for such events"),
    Column("wallet_id", UUID, nullable=False),
    Column("base_yen", BigInteger, nullable=False, comment="what was charged; 0 for a civic event"),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("decided_at", DateTime(timezone=True)),
    Column("granted_yen", BigInteger, comment="0 where there was none to give"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("ix_bonus_due_open", "id", postgresql_where=text("decided_at IS NULL")),
    CheckConstraint("event IN ('charge', 'civic')", name="event"),
    CheckConstraint("base_yen >= 0 AND granted_yen >= 0", name="amounts"),
    CheckConstraint("(decided_at IS NULL) = (granted_yen IS NULL)", name="decided_says_what"),
    CheckConstraint("get_byte(uuid_send(id), 15) & 15 = 0", name="aligned"),
)

coupon_use = Table(
    "coupon_use",
    metadata,
    Column("payment_id", UUID, primary_key=True),
    Column("programme_id", UUID, nullable=False, comment="whose budget bears it"),
    Column("coupon", Text, nullable=False, comment="programme:coupon"),
    Column("wallet_id", UUID, nullable=False),
    Column("holder_id", UUID, nullable=False),
    Column("amount_yen", BigInteger, nullable=False),
    Column("reversed_yen", BigInteger, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("ix_coupon_use_holder_id", "holder_id"),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    CheckConstraint("reversed_yen BETWEEN 0 AND amount_yen", name="reversed"),
)
