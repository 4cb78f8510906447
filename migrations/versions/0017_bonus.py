"""Bonuses and coupons."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and columns, and what the application may do with them."""
    _create_bonus_grant()
    _create_bonus_total()
    _create_bonus_due()
    _create_coupon_use()
    _give_shops_a_chain()
    _give_wallets_a_coupon()
    _grant()


def downgrade() -> None:
    """Remove them."""
    op.drop_column("wallet", "coupon")
    op.drop_constraint(op.f("ck_shop_chain_is_not_small"), "shop")
    op.drop_column("shop", "chain")
    op.drop_table("coupon_use")
    op.drop_table("bonus_due")
    op.drop_table("bonus_total")
    op.drop_table("bonus_grant")


def _create_bonus_grant() -> None:
    op.create_table(
        "bonus_grant",
        sa.Column("id", sa.UUID(), nullable=False, comment="of its transfer"),
        sa.Column(
            "payment_id",
            sa.UUID(),
            nullable=True,
            comment="NULL: it is for an event, a row of bonus_due",
        ),
        sa.Column("programme_id", sa.UUID(), nullable=False, comment="whose budget gives it"),
        sa.Column("rule", sa.Text(), nullable=False, comment="programme/bonus"),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column(
            "holder_id",
            sa.UUID(),
            nullable=False,
            comment="whom it counts for: the person or wallet",
        ),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column("reversed_yen", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "usable_on",
            sa.Date(),
            nullable=False,
            comment="from this day in Japan it can be spent",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_bonus_grant_amount_positive")),
        sa.CheckConstraint(
            "reversed_yen BETWEEN 0 AND amount_yen", name=op.f("ck_bonus_grant_reversed")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'granted', 'reversed')", name=op.f("ck_bonus_grant_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bonus_grant")),
    )
    op.create_index(
        "ix_bonus_grant_due",
        "bonus_grant",
        ["usable_on", "id"],
        postgresql_where=sa.text("state = 'pending'"),
    )


def _create_bonus_total() -> None:
    op.create_table(
        "bonus_total",
        sa.Column("holder_id", sa.UUID(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False, comment="programme/bonus or programme:coupon"),
        sa.Column(
            "period",
            sa.Text(),
            nullable=False,
            comment="such as 2026-11; empty for all of the time",
        ),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "amount_yen >= 0 AND uses >= 0", name=op.f("ck_bonus_total_not_negative")
        ),
        sa.PrimaryKeyConstraint("holder_id", "rule", "period", name=op.f("pk_bonus_total")),
        postgresql_with={"fillfactor": 50},
    )


def _create_bonus_due() -> None:
    op.create_table(
        "bonus_due",
        sa.Column(
            "id",
            sa.UUID(),
            nullable=False,
            comment="aligned: its transfers are numbered after it",
        ),
        sa.Column("programme_id", sa.UUID(), nullable=False, comment="whose terms have the bonus"),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column(
            "bonus",
            sa.Text(),
            nullable=True,
            comment="the code of the only one meant; NULL: all for such events",
        ),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column(
            "base_yen",
            sa.BigInteger(),
            nullable=False,
            comment="what was charged; 0 for a civic event",
        ),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "granted_yen", sa.BigInteger(), nullable=True, comment="0 where there was none to give"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("event IN ('charge', 'civic')", name=op.f("ck_bonus_due_event")),
        sa.CheckConstraint("base_yen >= 0 AND granted_yen >= 0", name=op.f("ck_bonus_due_amounts")),
        sa.CheckConstraint(
            "(decided_at IS NULL) = (granted_yen IS NULL)",
            name=op.f("ck_bonus_due_decided_says_what"),
        ),
        sa.CheckConstraint(
            "get_byte(uuid_send(id), 15) & 15 = 0", name=op.f("ck_bonus_due_aligned")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bonus_due")),
    )
    op.create_index(
        "ix_bonus_due_open", "bonus_due", ["id"], postgresql_where=sa.text("decided_at IS NULL")
    )


def _create_coupon_use() -> None:
    op.create_table(
        "coupon_use",
        sa.Column("payment_id", sa.UUID(), nullable=False),
        sa.Column("programme_id", sa.UUID(), nullable=False, comment="whose budget bears it"),
        sa.Column("coupon", sa.Text(), nullable=False, comment="programme:coupon"),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("holder_id", sa.UUID(), nullable=False),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column("reversed_yen", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_coupon_use_amount_positive")),
        sa.CheckConstraint(
            "reversed_yen BETWEEN 0 AND amount_yen", name=op.f("ck_coupon_use_reversed")
        ),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_coupon_use")),
    )
    op.create_index("ix_coupon_use_holder_id", "coupon_use", ["holder_id"])


def _give_shops_a_chain() -> None:
    op.add_column(
        "shop",
        sa.Column(
            "chain",
            sa.Boolean(),
            nullable=False,
            server_default="false",
            comment="one of a chain's, where a bonus tells sizes apart",
        ),
    )
    op.create_check_constraint(op.f("ck_shop_chain_is_not_small"), "shop", "NOT (small AND chain)")


def _give_wallets_a_coupon() -> None:
    op.add_column(
        "wallet",
        sa.Column(
            "coupon",
            sa.Text(),
            nullable=True,
            comment="programme:coupon that the next payment it fits shall use",
        ),
    )


def _grant() -> None:
    op.execute(
        "GRANT SELECT, INSERT ON bonus_grant, bonus_total, bonus_due, coupon_use TO wallet_app"
    )
    op.execute("GRANT UPDATE (state, reversed_yen, usable_on) ON bonus_grant TO wallet_app")
    op.execute("GRANT UPDATE (amount_yen, uses) ON bonus_total TO wallet_app")
    op.execute("GRANT UPDATE (decided_at, granted_yen) ON bonus_due TO wallet_app")
    op.execute("GRANT UPDATE (reversed_yen) ON coupon_use TO wallet_app")
    op.execute("GRANT UPDATE (coupon) ON wallet TO wallet_app")
