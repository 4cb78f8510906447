"""The ledger: accounts, balances, transfers by month, holds, burnt ids, seals."""

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FIRST_MONTH = 2026 * 12 + 9
MONTHS = 27
"""Partitions from October 2026 to December 2028; later migrations add more."""

IMMUTABLE = ("account", "transfer", "burnt_transfer", "seal")


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_account()
    _create_balance()
    _create_transfer()
    _create_pending_transfer()
    _create_burnt_transfer()
    _create_seal()
    _create_months()
    _make_role()
    _make_immutable()
    _guard_holds()
    _grant()


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("seal")
    op.drop_table("burnt_transfer")
    op.drop_table("pending_transfer")
    op.drop_table("transfer")
    op.drop_table("balance")
    op.drop_table("account")
    op.execute("DROP FUNCTION refuse_second_resolution")
    op.execute("DROP PROCEDURE make_immutable")
    op.execute("DROP FUNCTION refuse_change")


def _create_account() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("ledger", sa.Integer(), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.Column("user_data_128", sa.UUID(), nullable=True),
        sa.Column("user_data_64", sa.BigInteger(), nullable=False),
        sa.Column("user_data_32", sa.Integer(), nullable=False),
        sa.Column("min_available", sa.BigInteger(), nullable=True),
        sa.Column("max_balance", sa.BigInteger(), nullable=True),
        sa.Column(
            "timestamp", sa.BigInteger(), nullable=False, comment="microseconds since the epoch"
        ),
        sa.CheckConstraint("ledger > 0 AND code > 0", name=op.f("ck_account_ledger_and_code")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
    )


def _create_balance() -> None:
    op.create_table(
        "balance",
        sa.Column("account_id", sa.UUID(), nullable=False),
        sa.Column("ledger", sa.Integer(), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.Column("min_available", sa.BigInteger(), nullable=True),
        sa.Column("max_balance", sa.BigInteger(), nullable=True),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("debits_pending", sa.BigInteger(), nullable=False),
        sa.Column("debits_posted", sa.BigInteger(), nullable=False),
        sa.Column("credits_pending", sa.BigInteger(), nullable=False),
        sa.Column("credits_posted", sa.BigInteger(), nullable=False),
        sa.Column("last_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("transfer_count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "debits_pending >= 0 AND debits_posted >= 0"
            " AND credits_pending >= 0 AND credits_posted >= 0",
            name=op.f("ck_balance_counters_not_negative"),
        ),
        sa.CheckConstraint(
            "flags & 2 = 0 OR debits_pending + debits_posted <= credits_posted",
            name=op.f("ck_balance_debits_within_credits"),
        ),
        sa.CheckConstraint(
            "flags & 4 = 0 OR credits_pending + credits_posted <= debits_posted",
            name=op.f("ck_balance_credits_within_debits"),
        ),
        sa.CheckConstraint(
            "max_balance IS NULL"
            " OR credits_posted + credits_pending - debits_posted <= max_balance",
            name=op.f("ck_balance_max_balance"),
        ),
        sa.CheckConstraint(
            "min_available IS NULL OR (debits_pending = 0 AND debits_posted = 0)"
            " OR credits_posted - debits_posted - debits_pending >= min_available",
            name=op.f("ck_balance_min_available"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_balance_account_id_account")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_balance")),
        postgresql_with={
            "fillfactor": 50,
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 5000,
            "autovacuum_vacuum_cost_delay": 0,
        },
    )


def _create_transfer() -> None:
    op.create_table(
        "transfer",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("debit_account_id", sa.UUID(), nullable=False),
        sa.Column("credit_account_id", sa.UUID(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("ledger", sa.Integer(), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.Column("pending_id", sa.UUID(), nullable=True),
        sa.Column("user_data_128", sa.UUID(), nullable=True),
        sa.Column("user_data_64", sa.BigInteger(), nullable=False),
        sa.Column("user_data_32", sa.Integer(), nullable=False),
        sa.Column("timeout_s", sa.Integer(), nullable=False),
        sa.Column(
            "timestamp", sa.BigInteger(), nullable=False, comment="microseconds since the epoch"
        ),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_transfer_amount_not_negative")),
        sa.CheckConstraint(
            "debit_account_id <> credit_account_id", name=op.f("ck_transfer_two_accounts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfer")),
        comment="Two entries by construction: what is debited here is credited there.",
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index(
        "ix_transfer_credit_account", "transfer", ["credit_account_id", "timestamp"], unique=False
    )
    op.create_index(
        "ix_transfer_debit_account", "transfer", ["debit_account_id", "timestamp"], unique=False
    )


def _create_pending_transfer() -> None:
    op.create_table(
        "pending_transfer",
        sa.Column("transfer_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "expires_at",
            sa.BigInteger(),
            nullable=True,
            comment="microseconds since the epoch; NULL is never",
        ),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(state = 'pending') = (resolved_at IS NULL)",
            name=op.f("ck_pending_transfer_resolved_once"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'posted', 'voided', 'expired')",
            name=op.f("ck_pending_transfer_state"),
        ),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_pending_transfer")),
        comment="What became of a hold; the transfer that opened it never changes.",
    )
    op.create_index(
        "ix_pending_transfer_expiring",
        "pending_transfer",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending' AND expires_at IS NOT NULL"),
    )


def _create_burnt_transfer() -> None:
    op.create_table(
        "burnt_transfer",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_burnt_transfer")),
        comment="Ids that a told failure used up; a retry must never turn it into a success.",
    )


def _create_seal() -> None:
    op.create_table(
        "seal",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("from_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("to_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("transfers", sa.BigInteger(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("from_timestamp < to_timestamp", name=op.f("ck_seal_range")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_seal")),
        comment="A hash chain over closed ranges [from, to) of transfers.",
    )


def _create_months() -> None:
    """One partition for each month of the ids; whatever fits none goes to the last one."""
    for month in range(MONTHS):
        year, number = divmod(FIRST_MONTH + month, 12)
        next_year, next_number = divmod(FIRST_MONTH + month + 1, 12)
        op.execute(
            f"CREATE TABLE transfer_y{year}m{number + 1:02} PARTITION OF transfer"
            f" FOR VALUES FROM ('{_first_id(year, number + 1)}')"
            f" TO ('{_first_id(next_year, next_number + 1)}')"
        )
    op.execute("CREATE TABLE transfer_other PARTITION OF transfer DEFAULT")


def _first_id(year: int, month: int) -> uuid.UUID:
    """The smallest UUIDv7 of a month in UTC: its milliseconds in the first 48 bits."""
    moment = datetime(year, month, 1, tzinfo=UTC)
    return uuid.UUID(int=int(moment.timestamp()) * 1000 << 80)


def _make_role() -> None:
    """The application's role; a login of the same name may be there already."""
    op.execute("""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'wallet_app') THEN
                CREATE ROLE wallet_app NOLOGIN;
            END IF;
        END $$
    """)


def _make_immutable() -> None:
    """Refuse every change of what is written once, whoever asks."""
    op.execute("""
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END $$
    """)
    op.execute("""
        CREATE PROCEDURE make_immutable(target text) LANGUAGE plpgsql AS $$
        BEGIN
            EXECUTE format('CREATE TRIGGER %1$I BEFORE UPDATE OR DELETE ON %2$I'
                ' FOR EACH ROW EXECUTE FUNCTION refuse_change()', target || '_stays', target);
            EXECUTE format('CREATE TRIGGER %1$I BEFORE TRUNCATE ON %2$I'
                ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
                target || '_is_not_emptied', target);
        END $$
    """)
    for table in IMMUTABLE:
        op.execute(f"CALL make_immutable('{table}')")


def _guard_holds() -> None:
    """A hold is resolved once and never comes back."""
    op.execute("""
        CREATE FUNCTION refuse_second_resolution() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.state <> 'pending' OR NEW.transfer_id <> OLD.transfer_id THEN
                RAISE EXCEPTION 'hold % is already %', OLD.transfer_id, OLD.state
                    USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute(
        "CREATE TRIGGER pending_transfer_resolves_once BEFORE UPDATE ON pending_transfer"
        " FOR EACH ROW EXECUTE FUNCTION refuse_second_resolution()"
    )


def _grant() -> None:
    op.execute("GRANT SELECT, INSERT ON account, transfer, burnt_transfer, seal TO wallet_app")
    op.execute("GRANT SELECT, INSERT, UPDATE ON balance, pending_transfer TO wallet_app")
