"""Gifts, civic events and who was there, steps, exchanges, and what shops do with their takings."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wallet.core.database import metadata

# No foreign keys to wallets, programmes and shops: each check would lock a hot row. Batches have
# read all of them before they write.
gift = Table(
    "gift",
    metadata,
    Column("id", UUID, primary_key=True, comment="its transfers are numbered after it"),
    Column("giver_id", UUID, nullable=False),
    Column("giver_wallet_id", UUID, nullable=False),
    Column("receiver_id", UUID, comment="NULL: whoever claims it by its code"),
    Column("receiver_wallet_id", UUID),
    Column("programme_id", UUID, nullable=False),
    Column("amount_yen", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("code_hash", LargeBinary, comment="keyed; of what is passed on to the receiver"),
    Column("given_on", Date, nullable=False, comment="the day in Japan whose limits it counts for"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), comment="of the code; what nobody claimed"),
    Column("decided_at", DateTime(timezone=True), comment="when it was claimed or cancelled"),
    UniqueConstraint("giver_id", "idempotency_key"),
    UniqueConstraint("code_hash"),
    # The condition is always true; only a query that repeats it can use the index, and so single
    # gifts are never looked up here while statistics say that the table is empty.
    Index("ix_gift_of_giver", "giver_id", "given_on", postgresql_where=text("amount_yen > 0")),
    Index("ix_gift_of_receiver", "receiver_id", "id", postgresql_where=text("amount_yen > 0")),
    CheckConstraint("amount_yen BETWEEN 1 AND 100000", name="amount"),
    CheckConstraint("state IN ('given', 'waiting', 'cancelled')", name="state"),
    CheckConstraint("octet_length(code_hash) = 32", name="code_hash"),
    CheckConstraint("(code_hash IS NULL) = (expires_at IS NULL)", name="code_expires"),
    CheckConstraint(
        "CASE state WHEN 'given' THEN receiver_id IS NOT NULL AND receiver_wallet_id IS NOT NULL"
        " ELSE receiver_id IS NULL AND receiver_wallet_id IS NULL AND code_hash IS NOT NULL END",
        name="given_to_somebody",
    ),
    CheckConstraint("giver_id <> receiver_id", name="to_another"),
)

civic_event = Table(
    "civic_event",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("programme_id", UUID, ForeignKey("programme.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("amount_yen", BigInteger, nullable=False, comment="for one person and day"),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False),
    Column("grants_max", Integer, comment="NULL: as many as the budget pays for"),
    Column("grants", Integer, nullable=False, server_default="0"),
    Column("state", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("length(name) BETWEEN 1 AND 80", name="name"),
    CheckConstraint("amount_yen BETWEEN 1 AND 10000", name="amount"),
    CheckConstraint("last_day >= first_day", name="days"),
    CheckConstraint("grants >= 0 AND grants <= grants_max", name="grants"),
    CheckConstraint("grants_max > 0", name="grants_max"),
    CheckConstraint("state IN ('open', 'closed')", name="state"),
)

attendance = Table(
    "attendance",
    metadata,
    Column("id", UUID, primary_key=True, comment="its transfer is the first after it"),
    Column("event_id", UUID, nullable=False),
    Column("person_id", UUID, nullable=False),
    Column("day", Date, nullable=False),
    Column("nonce", LargeBinary, nullable=False, comment="of the code that was shown"),
    Column("wallet_id", UUID, nullable=False),
    Column("amount_yen", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("event_id", "person_id", "day"),
    UniqueConstraint("event_id", "nonce"),
    CheckConstraint("octet_length(nonce) = 10", name="nonce"),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    comment="Append-only: once for a person, an event and a day; each code once.",
)

step_rule = Table(
    "step_rule",
    metadata,
    Column("programme_id", UUID, ForeignKey("programme.id"), primary_key=True),
    Column("ladder", JSONB, nullable=False, comment="[{steps, yen}], rising"),
    Column("month_max_yen", BigInteger, nullable=False),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("month_max_yen > 0", name="month_max_positive"),
    CheckConstraint("last_day >= first_day", name="days"),
)

step_day = Table(
    "step_day",
    metadata,
    Column("person_id", UUID, primary_key=True),
    Column("programme_id", UUID, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("device_id", UUID, nullable=False, comment="the phone whose steps count on that day"),
    Column("steps", Integer, nullable=False),
    Column("rewarded_yen", BigInteger, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("steps BETWEEN 0 AND 100000", name="steps"),
    CheckConstraint("rewarded_yen >= 0", name="rewarded_not_negative"),
)

exchange = Table(
    "exchange",
    metadata,
    Column("id", UUID, primary_key=True, comment="its transfers are numbered after it"),
    Column("person_id", UUID, nullable=False),
    Column("wallet_id", UUID, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("from_programme_id", UUID, nullable=False),
    Column("to_programme_id", UUID, nullable=False),
    Column("offered_yen", BigInteger, nullable=False, comment="as it was asked for"),
    Column("given_yen", BigInteger, nullable=False),
    Column("received_yen", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("person_id", "idempotency_key"),
    CheckConstraint(
        "given_yen > 0 AND received_yen > 0 AND given_yen <= offered_yen", name="amounts"
    ),
    CheckConstraint("from_programme_id <> to_programme_id", name="two_programmes"),
    comment="Append-only.",
)

takings_order = Table(
    "takings_order",
    metadata,
    Column("id", UUID, primary_key=True, comment="its transfer is the first after it"),
    Column("shop_id", UUID, nullable=False),
    Column("to_shop_id", UUID, comment="NULL: leaves as a bank transfer"),
    Column("amount_yen", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("refused_because", Text),
    Column("ordered_by", UUID, nullable=False, comment="the member of staff"),
    Column("ordered_at", DateTime(timezone=True), nullable=False),
    Column("decided_at", DateTime(timezone=True)),
    Index("ix_takings_order_due", "id", postgresql_where=text("state = 'ordered'")),
    Index("ix_takings_order_shop_id", "shop_id", "id"),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    CheckConstraint("state IN ('ordered', 'moved', 'refused')", name="state"),
    CheckConstraint("(state = 'ordered') = (decided_at IS NULL)", name="decided"),
    CheckConstraint("(state = 'refused') = (refused_because IS NOT NULL)", name="refused_says_why"),
    CheckConstraint("shop_id <> to_shop_id", name="to_another"),
)

charge = Table(
    "charge",
    metadata,
    Column("id", UUID, primary_key=True, comment="its transfer is the first after it"),
    Column("person_id", UUID, nullable=False),
    Column("wallet_id", UUID, nullable=False),
    Column("programme_id", UUID, nullable=False),
    Column("amount_yen", BigInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("order_id", UUID, nullable=False, comment="what the provider is to report"),
    Column("state", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False, comment="of the payment slip"),
    Column("charged_at", DateTime(timezone=True)),
    UniqueConstraint("person_id", "idempotency_key"),
    Index("ix_charge_of_person", "person_id", "id", postgresql_where=text("amount_yen > 0")),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    CheckConstraint("method IN ('convenience', 'card', 'bank')", name="method"),
    CheckConstraint("state IN ('waiting', 'charged')", name="state"),
    CheckConstraint("(state = 'charged') = (charged_at IS NOT NULL)", name="charged"),
)
