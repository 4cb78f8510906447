"""Programmes, wallets and their purses, merchants and their shops."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_programme()
    _create_wallet()
    _create_purse()
    _create_card()
    _create_spending()
    _create_merchant()
    _create_shop()
    _create_terminal()
    _create_api_key()
    _grant()


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("api_key")
    op.drop_table("terminal")
    op.drop_table("shop")
    op.drop_table("merchant")
    op.drop_table("spending")
    op.drop_table("card")
    op.drop_table("purse")
    op.drop_table("wallet")
    op.drop_table("programme")


def _create_programme() -> None:
    op.create_table(
        "programme",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="user_data_32 of its transfers"),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("terms", postgresql.JSONB(), nullable=False),
        sa.Column(
            "clearing_account_id", sa.UUID(), nullable=False, comment="money received for it"
        ),
        sa.Column("budget_account_id", sa.UUID(), nullable=False, comment="what the city adds"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "number > 0 AND version > 0", name=op.f("ck_programme_number_and_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_programme")),
        sa.UniqueConstraint("code", name=op.f("uq_programme_code")),
        sa.UniqueConstraint("number", name=op.f("uq_programme_number")),
    )


def _create_wallet() -> None:
    op.create_table(
        "wallet",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payment_limit_yen", sa.BigInteger(), nullable=False),
        sa.Column("daily_limit_yen", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("holder IN ('resident', 'visitor')", name=op.f("ck_wallet_holder")),
        sa.CheckConstraint("state IN ('active', 'frozen', 'closed')", name=op.f("ck_wallet_state")),
        sa.CheckConstraint(
            "payment_limit_yen >= 0 AND daily_limit_yen >= 0", name=op.f("ck_wallet_limits")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallet")),
    )


def _create_purse() -> None:
    op.create_table(
        "purse",
        sa.Column("account_id", sa.UUID(), nullable=False),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("funding", sa.Text(), nullable=False),
        sa.Column(
            "expires_on", sa.Date(), nullable=False, comment="last day it may be spent, in Japan"
        ),
        sa.CheckConstraint("funding IN ('paid', 'premium', 'free')", name=op.f("ck_purse_funding")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_purse_account_id_account")
        ),
        sa.ForeignKeyConstraint(
            ["programme_id"], ["programme.id"], name=op.f("fk_purse_programme_id_programme")
        ),
        sa.ForeignKeyConstraint(
            ["wallet_id"], ["wallet.id"], name=op.f("fk_purse_wallet_id_wallet")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_purse")),
        sa.UniqueConstraint(
            "wallet_id",
            "programme_id",
            "funding",
            "expires_on",
            name=op.f("uq_purse_wallet_id_programme_id_funding_expires_on"),
        ),
    )


def _create_card() -> None:
    op.create_table(
        "card",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("number_hash", sa.LargeBinary(), nullable=False),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payment_limit_yen", sa.BigInteger(), nullable=False),
        sa.Column("daily_limit_yen", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('active', 'blocked', 'replaced')", name=op.f("ck_card_state")
        ),
        sa.CheckConstraint(
            "payment_limit_yen >= 0 AND daily_limit_yen >= 0", name=op.f("ck_card_limits")
        ),
        sa.ForeignKeyConstraint(
            ["wallet_id"], ["wallet.id"], name=op.f("fk_card_wallet_id_wallet")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card")),
        sa.UniqueConstraint("number_hash", name=op.f("uq_card_number_hash")),
    )
    op.create_index("ix_card_wallet_id", "card", ["wallet_id"], unique=False)


def _create_spending() -> None:
    op.create_table(
        "spending",
        sa.Column("holder_id", sa.UUID(), nullable=False),
        sa.Column(
            "spent_on", sa.Date(), nullable=False, comment="the day in Japan that spent_yen is of"
        ),
        sa.Column("spent_yen", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("spent_yen >= 0", name=op.f("ck_spending_not_negative")),
        sa.PrimaryKeyConstraint("holder_id", name=op.f("pk_spending")),
        postgresql_with={
            "fillfactor": 50,
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 5000,
            "autovacuum_vacuum_cost_delay": 0,
        },
    )


def _create_merchant() -> None:
    op.create_table(
        "merchant",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('active', 'suspended')", name=op.f("ck_merchant_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merchant")),
    )


def _create_shop() -> None:
    op.create_table(
        "shop",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column(
            "small", sa.Boolean(), nullable=False, comment="counts as a small shop in programmes"
        ),
        sa.Column("payable_account_id", sa.UUID(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchant.id"], name=op.f("fk_shop_merchant_id_merchant")
        ),
        sa.ForeignKeyConstraint(
            ["payable_account_id"], ["account.id"], name=op.f("fk_shop_payable_account_id_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shop")),
    )
    op.create_index("ix_shop_merchant_id", "shop", ["merchant_id"], unique=False)


def _create_terminal() -> None:
    op.create_table(
        "terminal",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("shop_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'retired')", name=op.f("ck_terminal_state")),
        sa.ForeignKeyConstraint(["shop_id"], ["shop.id"], name=op.f("fk_terminal_shop_id_shop")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_terminal")),
    )
    op.create_index("ix_terminal_shop_id", "terminal", ["shop_id"], unique=False)


def _create_api_key() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("merchant_id", sa.UUID(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchant.id"], name=op.f("fk_api_key_merchant_id_merchant")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_key_key_hash")),
    )
    op.create_index("ix_api_key_merchant_id", "api_key", ["merchant_id"], unique=False)


def _grant() -> None:
    op.execute(
        "GRANT SELECT, INSERT ON programme, purse, merchant, shop, terminal, api_key, wallet, card"
        " TO wallet_app"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON spending TO wallet_app")
    op.execute("GRANT UPDATE (code, version, terms) ON programme TO wallet_app")
    op.execute("GRANT UPDATE (state) ON merchant, terminal TO wallet_app")
    op.execute("GRANT UPDATE (state, payment_limit_yen, daily_limit_yen) ON wallet TO wallet_app")
    op.execute("GRANT UPDATE (state, payment_limit_yen, daily_limit_yen) ON card TO wallet_app")
    op.execute("GRANT UPDATE (revoked_at) ON api_key TO wallet_app")
