"""Money that comes in, and what was bought with it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

IMMUTABLE = ("receipt", "suspense_settlement_receipt")


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_receipt_order()
    _index_receipt_order()
    _create_receipt()
    _create_suspense_settlement()
    _create_suspense_settlement_receipt()
    _create_stock()
    _create_purchase()
    _index_purchase()
    for table in IMMUTABLE:
        op.execute(f"CALL make_immutable('{table}')")
    _grant()


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("purchase")
    op.drop_table("stock")
    op.drop_table("suspense_settlement_receipt")
    op.drop_table("suspense_settlement")
    op.drop_table("receipt")
    op.drop_table("receipt_order")


def _create_receipt_order() -> None:
    op.create_table(
        "receipt_order",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column(
            "reference_id", sa.UUID(), nullable=False, comment="the purchase or charge it is for"
        ),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column(
            "shares",
            postgresql.JSONB(),
            nullable=False,
            comment="which programmes it is for: [id, yen] each",
        ),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column(
            "provider_reference", sa.Text(), nullable=False, comment="what a provider knows it by"
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "expires_at", sa.DateTime(timezone=True), nullable=False, comment="to be paid before"
        ),
        sa.Column(
            "closes_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="what was paid in time may be reported until then",
        ),
        sa.Column(
            "paid_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the provider took the money",
        ),
        sa.Column(
            "settled_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when its purpose was fulfilled",
        ),
        sa.Column(
            "card_key",
            sa.LargeBinary(),
            nullable=True,
            comment="keyed; the same for every payment by one card",
        ),
        *_receipt_order_checks(),
        sa.ForeignKeyConstraint(
            ["programme_id"], ["programme.id"], name=op.f("fk_receipt_order_programme_id_programme")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipt_order")),
        sa.UniqueConstraint("provider_reference", name=op.f("uq_receipt_order_provider_reference")),
    )


def _receipt_order_checks() -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(
            "(state = 'paid') = (paid_at IS NOT NULL)", name=op.f("ck_receipt_order_paid_says_when")
        ),
        sa.CheckConstraint(
            "method IN ('convenience', 'card', 'bank')", name=op.f("ck_receipt_order_method")
        ),
        sa.CheckConstraint(
            "purpose IN ('voucher', 'charge')", name=op.f("ck_receipt_order_purpose")
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'paid', 'expired', 'cancelled')",
            name=op.f("ck_receipt_order_state"),
        ),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_receipt_order_amount_positive")),
        sa.CheckConstraint(
            "created_at < expires_at AND expires_at <= closes_at",
            name=op.f("ck_receipt_order_times"),
        ),
        sa.CheckConstraint("octet_length(card_key) = 32", name=op.f("ck_receipt_order_card_key")),
        sa.CheckConstraint(
            "settled_at IS NULL OR paid_at IS NOT NULL",
            name=op.f("ck_receipt_order_settled_was_paid"),
        ),
    ]


def _index_receipt_order() -> None:
    op.create_index(
        "ix_receipt_order_card_key",
        "receipt_order",
        ["card_key"],
        unique=False,
        postgresql_where=sa.text("card_key IS NOT NULL"),
    )
    op.create_index(
        "ix_receipt_order_closes_at",
        "receipt_order",
        ["closes_at"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_receipt_order_purpose_reference_id",
        "receipt_order",
        ["purpose", "reference_id"],
        unique=False,
    )
    op.create_index(
        "ix_receipt_order_unsettled",
        "receipt_order",
        ["purpose", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'paid' AND settled_at IS NULL"),
    )


def _create_receipt() -> None:
    op.create_table(
        "receipt",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column(
            "provider_event", sa.Text(), nullable=False, comment="the provider's own id of it"
        ),
        sa.Column(
            "provider_reference", sa.Text(), nullable=False, comment="as the provider has told it"
        ),
        sa.Column("order_id", sa.UUID(), nullable=True, comment="NULL: matches nothing"),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column(
            "suspended_yen", sa.BigInteger(), nullable=False, comment="of it, what matches nothing"
        ),
        sa.Column("suspended_because", sa.Text(), nullable=True),
        sa.Column(
            "received_at", sa.DateTime(timezone=True), nullable=False, comment="by the provider"
        ),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False, comment="by us"),
        sa.CheckConstraint(
            "provider IN ('convenience', 'card', 'bank')", name=op.f("ck_receipt_provider")
        ),
        sa.CheckConstraint(
            "suspended_because IN ('unknown', 'under', 'over', 'order_over', 'paid_before',"
            " 'unauthenticated')",
            name=op.f("ck_receipt_suspended_because"),
        ),
        sa.CheckConstraint(
            "(suspended_yen > 0) = (suspended_because IS NOT NULL)",
            name=op.f("ck_receipt_says_why"),
        ),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_receipt_amount_positive")),
        sa.CheckConstraint(
            "suspended_yen BETWEEN 0 AND amount_yen", name=op.f("ck_receipt_suspended")
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["receipt_order.id"], name=op.f("fk_receipt_order_id_receipt_order")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipt")),
        sa.UniqueConstraint(
            "provider", "provider_event", name=op.f("uq_receipt_provider_provider_event")
        ),
        comment="Append-only: what providers have reported.",
    )
    op.create_index("ix_receipt_order_id", "receipt", ["order_id"], unique=False)
    op.create_index(
        "ix_receipt_suspended",
        "receipt",
        ["id"],
        unique=False,
        postgresql_where=sa.text("suspended_yen > 0"),
    )


def _create_suspense_settlement() -> None:
    op.create_table(
        "suspense_settlement",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=True, comment="NULL: back to the payer"),
        sa.Column("decided_by", sa.Text(), nullable=False, comment="the public id of the approval"),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("refused_because", sa.Text(), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'decided') = (done_at IS NULL)",
            name=op.f("ck_suspense_settlement_done_says_when"),
        ),
        sa.CheckConstraint(
            "(state = 'refused') = (refused_because IS NOT NULL)",
            name=op.f("ck_suspense_settlement_says_why"),
        ),
        sa.CheckConstraint(
            "(way = 'order') = (order_id IS NOT NULL)",
            name=op.f("ck_suspense_settlement_order_of_the_way"),
        ),
        sa.CheckConstraint(
            "state IN ('decided', 'done', 'refused')", name=op.f("ck_suspense_settlement_state")
        ),
        sa.CheckConstraint("way IN ('order', 'return')", name=op.f("ck_suspense_settlement_way")),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["receipt_order.id"],
            name=op.f("fk_suspense_settlement_order_id_receipt_order"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suspense_settlement")),
    )
    op.create_index(
        "ix_suspense_settlement_due",
        "suspense_settlement",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'decided'"),
    )


def _create_suspense_settlement_receipt() -> None:
    op.create_table(
        "suspense_settlement_receipt",
        sa.Column("settlement_id", sa.UUID(), nullable=False),
        sa.Column("receipt_id", sa.UUID(), nullable=False),
        sa.ForeignKeyConstraint(
            ["receipt_id"],
            ["receipt.id"],
            name=op.f("fk_suspense_settlement_receipt_receipt_id_receipt"),
        ),
        sa.ForeignKeyConstraint(
            ["settlement_id"],
            ["suspense_settlement.id"],
            name=op.f("fk_suspense_settlement_receipt_settlement_id_suspense_settlement"),
        ),
        sa.PrimaryKeyConstraint(
            "settlement_id", "receipt_id", name=op.f("pk_suspense_settlement_receipt")
        ),
        comment="Append-only: which receipts a settlement is about.",
    )
    op.create_index(
        "ix_suspense_settlement_receipt_receipt_id",
        "suspense_settlement_receipt",
        ["receipt_id"],
        unique=False,
    )


def _create_stock() -> None:
    op.create_table(
        "stock",
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("units_total", sa.Integer(), nullable=False),
        sa.Column("units_reserved", sa.Integer(), server_default="0", nullable=False),
        sa.Column("units_sold", sa.Integer(), server_default="0", nullable=False),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "pay_within_s",
            sa.Integer(),
            nullable=False,
            comment="how long units are kept for a buyer",
        ),
        sa.Column("min_tier", sa.Text(), nullable=False),
        sa.Column("residents_only", sa.Boolean(), nullable=False),
        sa.CheckConstraint("min_tier IN ('T0', 'T1', 'T2', 'T3')", name=op.f("ck_stock_min_tier")),
        sa.CheckConstraint("mode IN ('offered', 'first_come')", name=op.f("ck_stock_mode")),
        sa.CheckConstraint("opens_at < closes_at", name=op.f("ck_stock_period")),
        sa.CheckConstraint(
            "pay_within_s BETWEEN 600 AND 2592000", name=op.f("ck_stock_pay_within")
        ),
        sa.CheckConstraint(
            "units_reserved >= 0 AND units_sold >= 0"
            " AND units_reserved + units_sold <= units_total",
            name=op.f("ck_stock_not_one_oversold"),
        ),
        sa.ForeignKeyConstraint(
            ["programme_id"], ["programme.id"], name=op.f("fk_stock_programme_id_programme")
        ),
        sa.PrimaryKeyConstraint("programme_id", name=op.f("pk_stock")),
        comment="Units of a voucher that are on sale.",
        postgresql_with={
            "fillfactor": 10,
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 1000,
            "autovacuum_vacuum_cost_delay": 0,
        },
    )


def _create_purchase() -> None:
    op.create_table(
        "purchase",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column(
            "person_id", sa.UUID(), nullable=False, comment="who buys: the holder or their guardian"
        ),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("price_yen", sa.BigInteger(), nullable=False),
        sa.Column("face_yen", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "application_id",
            sa.UUID(),
            nullable=True,
            comment="of the offer that was taken up; NULL: first come",
        ),
        sa.Column("round", sa.SmallInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "deadline", sa.DateTime(timezone=True), nullable=False, comment="to be paid before"
        ),
        sa.Column(
            "receipt_order_id",
            sa.UUID(),
            nullable=True,
            comment="the last one that was made for it",
        ),
        sa.Column(
            "ended_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="issued, lapsed or cancelled",
        ),
        sa.Column(
            "held_because",
            sa.Text(),
            nullable=True,
            comment="paid for, but its issue was refused: the last reason",
        ),
        sa.CheckConstraint(
            "(state = 'reserved') = (ended_at IS NULL)", name=op.f("ck_purchase_ended_says_when")
        ),
        sa.CheckConstraint(
            "state IN ('reserved', 'issued', 'lapsed', 'cancelled')", name=op.f("ck_purchase_state")
        ),
        sa.CheckConstraint(
            "(application_id IS NULL) = (round IS NULL)", name=op.f("ck_purchase_offer_is_whole")
        ),
        sa.CheckConstraint(
            "0 < price_yen AND price_yen <= face_yen", name=op.f("ck_purchase_price_and_face")
        ),
        sa.CheckConstraint("units > 0", name=op.f("ck_purchase_units_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purchase")),
        sa.UniqueConstraint(
            "wallet_id", "idempotency_key", name=op.f("uq_purchase_wallet_id_idempotency_key")
        ),
    )


def _index_purchase() -> None:
    op.create_index(
        "ix_purchase_deadline",
        "purchase",
        ["deadline"],
        unique=False,
        postgresql_where=sa.text("state = 'reserved'"),
    )
    op.create_index(
        "ix_purchase_wallet_id_programme_id",
        "purchase",
        ["wallet_id", "programme_id"],
        unique=False,
    )


def _grant() -> None:
    op.execute("GRANT SELECT, INSERT ON receipt, suspense_settlement_receipt TO wallet_app")
    op.execute(
        "GRANT SELECT, INSERT ON receipt_order, suspense_settlement, stock, purchase TO wallet_app"
    )
    op.execute("GRANT UPDATE (state, paid_at, settled_at, card_key) ON receipt_order TO wallet_app")
    op.execute(
        "GRANT UPDATE (state, refused_because, done_at) ON suspense_settlement TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (mode, units_total, units_reserved, units_sold, opens_at, closes_at,"
        " pay_within_s, min_tier, residents_only) ON stock TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (state, receipt_order_id, ended_at, held_because) ON purchase TO wallet_app"
    )
