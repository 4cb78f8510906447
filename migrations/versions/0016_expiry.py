"""Expiry, refunds and reminders."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _let_purses_end()
    _create_extension()
    _create_reminder()
    _create_refund()
    _create_buyer_refund()
    _grant()


def downgrade() -> None:
    """Remove them."""
    op.drop_table("buyer_refund")
    op.drop_table("refund")
    op.drop_table("reminded_day")
    op.drop_table("purse_reminder")
    op.drop_table("purse_extension")
    op.drop_index("ix_purse_to_end", table_name="purse")
    op.drop_column("purse", "ended_at")


def _let_purses_end() -> None:
    op.add_column(
        "purse",
        sa.Column(
            "ended_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="emptied for good: its last day was over, or another purse took its money",
        ),
    )
    op.create_index(
        "ix_purse_to_end",
        "purse",
        ["expires_on", "account_id"],
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def _create_extension() -> None:
    op.create_table(
        "purse_extension",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column(
            "from_day", sa.Date(), nullable=False, comment="last day of the purses until now"
        ),
        sa.Column("to_day", sa.Date(), nullable=False, comment="their last day from now on"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("extended", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("to_day > from_day", name=op.f("ck_purse_extension_later")),
        sa.CheckConstraint("extended >= 0", name=op.f("ck_purse_extension_extended")),
        sa.ForeignKeyConstraint(
            ["programme_id"],
            ["programme.id"],
            name=op.f("fk_purse_extension_programme_id_programme"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purse_extension")),
        comment="Decided by two; the worker gives the purses their new day.",
    )
    op.create_index(
        "uq_purse_extension_open",
        "purse_extension",
        ["programme_id", "from_day"],
        unique=True,
        postgresql_where=sa.text("done_at IS NULL"),
    )


def _create_reminder() -> None:
    op.create_table(
        "purse_reminder",
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("step_days", sa.SmallInteger(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "wallet_id", "programme_id", "expires_on", "step_days", name=op.f("pk_purse_reminder")
        ),
        comment="What holders were reminded of, so that they are once.",
    )
    op.create_table(
        "reminded_day",
        sa.Column("day", sa.Date(), nullable=False, comment="in Japan"),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_reminded_day")),
        comment="Days on which everybody was reminded who was to be.",
    )


def _create_refund() -> None:
    op.create_table(
        "refund",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("payment_id", sa.UUID(), nullable=False),
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("merchant_refund_id", sa.Text(), nullable=False),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "bonus_taken_yen", sa.BigInteger(), nullable=False, comment="went back to its budget"
        ),
        sa.Column(
            "bonus_missing_yen",
            sa.BigInteger(),
            nullable=False,
            comment="was to go back too, and had been spent",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_refund_amount_positive")),
        sa.CheckConstraint(
            "bonus_taken_yen >= 0 AND bonus_missing_yen >= 0", name=op.f("ck_refund_bonus")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund")),
        sa.UniqueConstraint(
            "merchant_id",
            "merchant_refund_id",
            name=op.f("uq_refund_merchant_id_merchant_refund_id"),
        ),
    )
    op.create_index("ix_refund_payment_id", "refund", ["payment_id"])
    op.execute("CALL make_immutable('refund')")


def _create_buyer_refund() -> None:
    op.create_table(
        "buyer_refund",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("paid_yen", sa.BigInteger(), nullable=True, comment="to be given to the buyer"),
        sa.Column("premium_yen", sa.BigInteger(), nullable=True, comment="back in the budget"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "reason IN ('moving_away', 'leaving_japan', 'defect', 'closure')",
            name=op.f("ck_buyer_refund_reason"),
        ),
        sa.CheckConstraint(
            "state IN ('decided', 'done', 'refused')", name=op.f("ck_buyer_refund_state")
        ),
        sa.CheckConstraint(
            "(state = 'decided') = (settled_at IS NULL)"
            " AND (state = 'refused') = (refusal IS NOT NULL)"
            " AND (state = 'done') = (paid_yen IS NOT NULL)"
            " AND (state = 'done') = (premium_yen IS NOT NULL)",
            name=op.f("ck_buyer_refund_settled"),
        ),
        sa.ForeignKeyConstraint(
            ["programme_id"], ["programme.id"], name=op.f("fk_buyer_refund_programme_id_programme")
        ),
        sa.ForeignKeyConstraint(
            ["wallet_id"], ["wallet.id"], name=op.f("fk_buyer_refund_wallet_id_wallet")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_buyer_refund")),
        comment="Decided by two; the worker takes the money out of the purses.",
    )
    op.create_index(
        "ix_buyer_refund_decided",
        "buyer_refund",
        ["id"],
        postgresql_where=sa.text("state = 'decided'"),
    )
    op.create_index("ix_buyer_refund_programme_id", "buyer_refund", ["programme_id", "settled_at"])


def _grant() -> None:
    op.execute("GRANT UPDATE (expires_on, ended_at) ON purse TO wallet_app")
    op.execute(
        "GRANT SELECT, INSERT ON purse_extension, purse_reminder, reminded_day TO wallet_app"
    )
    op.execute("GRANT UPDATE (extended, done_at) ON purse_extension TO wallet_app")
    op.execute("GRANT SELECT, INSERT ON refund, buyer_refund TO wallet_app")
    op.execute(
        "GRANT UPDATE (state, refusal, paid_yen, premium_yen, settled_at) ON buyer_refund"
        " TO wallet_app"
    )
