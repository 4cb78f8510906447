"""Payments, idempotency keys, one-time codes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

IMMUTABLE = ("payment", "idempotency_key")


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_payment()
    _create_idempotency_key()
    _create_one_time_code()
    for table in IMMUTABLE:
        op.execute(f"CALL make_immutable('{table}')")
    _grant()


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("one_time_code")
    op.drop_table("idempotency_key")
    op.drop_table("payment")


def _create_payment() -> None:
    op.create_table(
        "payment",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("merchant_payment_id", sa.Text(), nullable=False),
        sa.Column("shop_id", sa.UUID(), nullable=False),
        sa.Column("terminal_id", sa.UUID(), nullable=False),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("instrument_hash", sa.LargeBinary(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "refusal", postgresql.JSONB(), nullable=True, comment="code and facts, when declined"
        ),
        sa.Column(
            "wallet_id",
            sa.UUID(),
            nullable=True,
            comment="NULL when the instrument led to no wallet",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(state = 'declined') = (refusal IS NOT NULL)",
            name=op.f("ck_payment_declined_says_why"),
        ),
        sa.CheckConstraint(
            "instrument IN ('cpm_code', 'card')", name=op.f("ck_payment_instrument")
        ),
        sa.CheckConstraint("state IN ('succeeded', 'declined')", name=op.f("ck_payment_state")),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_payment_amount_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment")),
        sa.UniqueConstraint(
            "merchant_id",
            "merchant_payment_id",
            name=op.f("uq_payment_merchant_id_merchant_payment_id"),
        ),
    )
    op.create_index(
        "ix_payment_list_of_merchant",
        "payment",
        ["merchant_id", "id"],
        postgresql_where=sa.text("amount_yen > 0"),
    )


def _create_idempotency_key() -> None:
    op.create_table(
        "idempotency_key",
        sa.Column("principal_id", sa.UUID(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.UUID(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("principal_id", "key", name=op.f("pk_idempotency_key")),
        comment="Written with the payment it led to; looked up before anything else.",
    )


def _create_one_time_code() -> None:
    op.create_table(
        "one_time_code",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "burnt_by",
            sa.UUID(),
            nullable=True,
            comment="the payment whose scan reached a decision",
        ),
        sa.CheckConstraint("octet_length(code_hash) = 32", name=op.f("ck_one_time_code_hashed")),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_one_time_code")),
        postgresql_with={"fillfactor": 50},
    )


def _grant() -> None:
    op.execute("GRANT SELECT, INSERT ON payment, idempotency_key, one_time_code TO wallet_app")
    op.execute("GRANT UPDATE (burnt_by) ON one_time_code TO wallet_app")
