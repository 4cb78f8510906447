"""Payments that wait for a step-up; who asked by phone; what a code's phone has shown."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and columns, and what the application may do with them."""
    _create_pending_payment()
    _give_payments_whoever_asked()
    _give_codes_a_level()
    op.drop_constraint(op.f("fk_step_up_device_id_device"), "step_up")
    _grant()


def downgrade() -> None:
    """Remove them; payments that were asked for by phone must not be there any more."""
    op.create_foreign_key(
        op.f("fk_step_up_device_id_device"), "step_up", "device", ["device_id"], ["id"]
    )
    op.drop_constraint(op.f("ck_one_time_code_level_is_whole"), "one_time_code")
    for column in ("authenticated_at", "classes", "acr", "helper_id", "device_id"):
        op.drop_column("one_time_code", column)
    _allow_instruments("cpm_code", "card")
    op.alter_column("payment", "created_at", comment=None)
    op.drop_column("payment", "helper_id")
    op.drop_column("payment", "asked_by")
    op.drop_table("pending_payment")


def _create_pending_payment() -> None:
    op.create_table(
        "pending_payment",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("merchant_payment_id", sa.Text(), nullable=False),
        sa.Column("shop_id", sa.UUID(), nullable=False),
        sa.Column("terminal_id", sa.UUID(), nullable=False),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("instrument_hash", sa.LargeBinary(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column(
            "helper_id",
            sa.UUID(),
            nullable=True,
            comment="the proxy whose phone showed the code",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_pending_payment_amount_positive")),
        sa.CheckConstraint(
            "instrument IN ('cpm_code', 'card')", name=op.f("ck_pending_payment_instrument")
        ),
        sa.CheckConstraint(
            "expires_at > created_at AND expires_at <= created_at + interval '5 minutes'",
            name=op.f("ck_pending_payment_short_lived"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pending_payment")),
        comment="Payments that wait for their payer's answer; they have moved nothing.",
    )
    op.create_index(
        "uq_pending_payment_merchant_payment_id",
        "pending_payment",
        ["merchant_id", "merchant_payment_id"],
        unique=True,
        postgresql_where=sa.text("decided_at IS NULL"),
    )


def _give_payments_whoever_asked() -> None:
    op.add_column(
        "payment",
        sa.Column(
            "asked_by",
            sa.UUID(),
            nullable=True,
            comment="the person who asked by their phone; NULL: the merchant",
        ),
    )
    op.add_column(
        "payment",
        sa.Column(
            "helper_id",
            sa.UUID(),
            nullable=True,
            comment="the proxy whose day it counts for as well",
        ),
    )
    op.alter_column("payment", "created_at", comment="when it was decided")
    _allow_instruments("cpm_code", "card", "app")


def _allow_instruments(*instruments: str) -> None:
    op.drop_constraint(op.f("ck_payment_instrument"), "payment")
    op.create_check_constraint(
        op.f("ck_payment_instrument"),
        "payment",
        "instrument IN ({})".format(", ".join(f"'{one}'" for one in instruments)),
    )


def _give_codes_a_level() -> None:
    for column in (
        sa.Column(
            "device_id",
            sa.UUID(),
            nullable=True,
            comment="the phone that was given it; NULL: known by nobody",
        ),
        sa.Column("helper_id", sa.UUID(), nullable=True, comment="the proxy on whose phone it is"),
        sa.Column(
            "acr",
            sa.Text(),
            nullable=True,
            comment="the level its phone had reached; NULL: the code itself is dev",
        ),
        sa.Column(
            "classes",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="the factor classes of that level",
        ),
        sa.Column(
            "authenticated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the last of them was shown",
        ),
    ):
        op.add_column("one_time_code", column)
    op.create_check_constraint(
        op.f("ck_one_time_code_level_is_whole"),
        "one_time_code",
        "(acr IS NULL) = (classes IS NULL) AND (acr IS NULL) = (authenticated_at IS NULL)",
    )


def _grant() -> None:
    op.execute("GRANT SELECT, INSERT ON pending_payment TO wallet_app")
    op.execute("GRANT UPDATE (decided_at) ON pending_payment TO wallet_app")
