"""Money that comes in: what somebody was asked to pay, what has arrived, what was made of it."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wallet.core.database import metadata

receipt_order = Table(
    "receipt_order",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("reference_id", UUID, nullable=False, comment="the purchase or charge it is for"),
    Column("programme_id", UUID, ForeignKey("programme.id"), nullable=False),
    Column("amount_yen", BigInteger, nullable=False),
    Column("shares", JSONB, nullable=False, comment="which programmes it is for: [id, yen] each"),
    Column("method", Text, nullable=False),
    Column("provider_reference", Text, nullable=False, comment="what a provider knows it by"),
    Column("state", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False, comment="to be paid before"),
    Column(
        "closes_at",
        DateTime(timezone=True),
        nullable=False,
        comment="what was paid in time may be reported until then",
    ),
    Column("paid_at", DateTime(timezone=True), comment="when the provider took the money"),
    Column("settled_at", DateTime(timezone=True), comment="when its purpose was fulfilled"),
    Column("card_key", LargeBinary, comment="keyed; the same for every payment by one card"),
    UniqueConstraint("provider_reference"),
    Index("ix_receipt_order_purpose_reference_id", "purpose", "reference_id"),
    Index("ix_receipt_order_closes_at", "closes_at", postgresql_where=text("state = 'waiting'")),
    Index(
        "ix_receipt_order_unsettled",
        "purpose",
        "id",
        postgresql_where=text("state = 'paid' AND settled_at IS NULL"),
    ),
    Index("ix_receipt_order_card_key", "card_key", postgresql_where=text("card_key IS NOT NULL")),
    CheckConstraint("purpose IN ('voucher', 'charge')", name="purpose"),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    CheckConstraint("method IN ('convenience', 'card', 'bank')", name="method"),
    CheckConstraint("state IN ('waiting', 'paid', 'expired', 'cancelled')", name="state"),
    CheckConstraint("created_at < expires_at AND expires_at <= closes_at", name="times"),
    CheckConstraint("(state = 'paid') = (paid_at IS NOT NULL)", name="paid_says_when"),
    CheckConstraint("settled_at IS NULL OR paid_at IS NOT NULL", name="settled_was_paid"),
    CheckConstraint("octet_length(card_key) = 32", name="card_key"),
)

receipt = Table(
    "receipt",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("provider_event", Text, nullable=False, comment="the provider's own id of it"),
    Column("provider_reference", Text, nullable=False, comment="as the provider has told it"),
    Column("order_id", UUID, ForeignKey("receipt_order.id"), comment="NULL: matches nothing"),
    Column("amount_yen", BigInteger, nullable=False),
    Column("suspended_yen", BigInteger, nullable=False, comment="of it, what matches nothing"),
    Column("suspended_because", Text),
    Column("received_at", DateTime(timezone=True), nullable=False, comment="by the provider"),
    Column("noted_at", DateTime(timezone=True), nullable=False, comment="by us"),
    UniqueConstraint("provider", "provider_event"),
    Index("ix_receipt_order_id", "order_id"),
    Index("ix_receipt_suspended", "id", postgresql_where=text("suspended_yen > 0")),
    CheckConstraint("provider IN ('convenience', 'card', 'bank')", name="provider"),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    CheckConstraint("suspended_yen BETWEEN 0 AND amount_yen", name="suspended"),
    CheckConstraint(
        "suspended_because IN ('unknown', 'under', 'over', 'order_over', 'paid_before',"
        " 'unauthenticated')",
        name="suspended_because",
    ),
    CheckConstraint("(suspended_yen > 0) = (suspended_because IS NOT NULL)", name="says_why"),
    comment="Append-only: what providers have reported.",
)

# A settlement that was refused leaves its receipts on the work list.
suspense_settlement = Table(
    "suspense_settlement",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("way", Text, nullable=False),
    Column("order_id", UUID, ForeignKey("receipt_order.id"), comment="NULL: back to the payer"),
    Column("decided_by", Text, nullable=False, comment="the public id of the approval"),
    Column("decided_at", DateTime(timezone=True), nullable=False),
    Column("state", Text, nullable=False),
    Column("refused_because", Text),
    Column("done_at", DateTime(timezone=True)),
    Index("ix_suspense_settlement_due", "id", postgresql_where=text("state = 'decided'")),
    CheckConstraint("way IN ('order', 'return')", name="way"),
    CheckConstraint("(way = 'order') = (order_id IS NOT NULL)", name="order_of_the_way"),
    CheckConstraint("state IN ('decided', 'done', 'refused')", name="state"),
    CheckConstraint("(state = 'refused') = (refused_because IS NOT NULL)", name="says_why"),
    CheckConstraint("(state = 'decided') = (done_at IS NULL)", name="done_says_when"),
)

suspense_settlement_receipt = Table(
    "suspense_settlement_receipt",
    metadata,
    Column("settlement_id", UUID, ForeignKey("suspense_settlement.id"), primary_key=True),
    Column("receipt_id", UUID, ForeignKey("receipt.id"), primary_key=True),
    Index("ix_suspense_settlement_receipt_receipt_id", "receipt_id"),
    comment="Append-only: which receipts a settlement is about.",
)
