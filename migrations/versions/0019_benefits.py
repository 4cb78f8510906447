"""Rosters, grants and claims."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_benefit_run()
    _create_benefit_grant()
    _index_benefit_grant()
    _create_benefit_row_error()
    _create_beneficiary()
    _create_benefit_claw_back()
    _create_benefit_receivable()
    _grant()


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("benefit_receivable")
    op.drop_table("benefit_claw_back")
    op.drop_table("beneficiary")
    op.drop_table("benefit_row_error")
    op.drop_table("benefit_grant")
    op.drop_table("benefit_run")


def _create_benefit_run() -> None:
    op.create_table(
        "benefit_run",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False, comment="once in it for each beneficiary"),
        sa.Column("file_hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the roster"),
        sa.Column("rows_total", sa.Integer(), nullable=False),
        sa.Column("claim_until", sa.Date(), nullable=False, comment="last day to claim, in Japan"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("imported_by", sa.UUID(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('approved', 'done')) = (approved_at IS NOT NULL)",
            name=op.f("ck_benefit_run_approved_before"),
        ),
        sa.CheckConstraint("period ~ '^[0-9A-Za-z-]{1,32}$'", name=op.f("ck_benefit_run_period")),
        sa.CheckConstraint(
            "state IN ('draft', 'approved', 'done', 'withdrawn')", name=op.f("ck_benefit_run_state")
        ),
        sa.CheckConstraint("octet_length(file_hash) = 32", name=op.f("ck_benefit_run_file_hash")),
        sa.ForeignKeyConstraint(
            ["programme_id"], ["programme.id"], name=op.f("fk_benefit_run_programme_id_programme")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_benefit_run")),
    )
    op.create_index("ix_benefit_run_state", "benefit_run", ["state"], unique=False)
    op.create_index(
        "uq_benefit_run_programme_id_period_file_hash",
        "benefit_run",
        ["programme_id", "period", "file_hash"],
        unique=True,
        postgresql_where=sa.text("state <> 'withdrawn'"),
    )


def _create_benefit_grant() -> None:
    op.create_table(
        "benefit_grant",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column(
            "row_number",
            sa.Integer(),
            nullable=False,
            comment="in the roster; its heading is row 1",
        ),
        sa.Column("programme_id", sa.UUID(), nullable=False, comment="its run's"),
        sa.Column("period", sa.Text(), nullable=False, comment="its run's"),
        sa.Column("beneficiary_hash", sa.LargeBinary(), nullable=False, comment="keyed"),
        sa.Column("guardian_hash", sa.LargeBinary(), nullable=True, comment="keyed"),
        sa.Column(
            "birth_mac",
            sa.LargeBinary(),
            nullable=False,
            comment="keyed, of this row and a birthday",
        ),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("delivery", sa.Text(), nullable=False),
        sa.Column(
            "protected", sa.Boolean(), nullable=False, comment="nothing is ever sent to an address"
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("because", sa.Text(), nullable=True, comment="why it could not be paid yet"),
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when it is to be paid, or tried again",
        ),
        sa.Column("wallet_id", sa.UUID(), nullable=True),
        sa.Column("account_id", sa.UUID(), nullable=True, comment="the purse it was paid into"),
        sa.Column(
            "claimed_by",
            sa.UUID(),
            nullable=True,
            comment="the person at whose word it was given to the wallet",
        ),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "code_mac", sa.LargeBinary(), nullable=True, comment="keyed, of the code in the letter"
        ),
        sa.Column("code_failures", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("returned_yen", sa.BigInteger(), server_default="0", nullable=False),
        *_checks_of_a_grant(),
        sa.ForeignKeyConstraint(
            ["run_id"], ["benefit_run.id"], name=op.f("fk_benefit_grant_run_id_benefit_run")
        ),
        sa.ForeignKeyConstraint(
            ["wallet_id"], ["wallet.id"], name=op.f("fk_benefit_grant_wallet_id_wallet")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_benefit_grant")),
    )


def _checks_of_a_grant() -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(
            "(state = 'due') = (due_at IS NOT NULL) AND (state <> 'due' OR wallet_id IS NOT NULL)",
            name=op.f("ck_benefit_grant_due_to_a_wallet"),
        ),
        sa.CheckConstraint(
            "(state IN ('granted', 'clawed_back')) = (granted_at IS NOT NULL)"
            " AND (granted_at IS NULL) = (account_id IS NULL)",
            name=op.f("ck_benefit_grant_granted_into_a_purse"),
        ),
        sa.CheckConstraint(
            "delivery IN ('wallet', 'card', 'paper', 'bank')",
            name=op.f("ck_benefit_grant_delivery"),
        ),
        sa.CheckConstraint(
            "state IN ('draft', 'offered', 'due', 'granted', 'lapsed', 'elsewhere', 'withdrawn',"
            " 'clawed_back')",
            name=op.f("ck_benefit_grant_state"),
        ),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_benefit_grant_amount_positive")),
        sa.CheckConstraint(
            "code_failures BETWEEN 0 AND 5", name=op.f("ck_benefit_grant_code_failures")
        ),
        sa.CheckConstraint(
            "octet_length(beneficiary_hash) = 32 AND octet_length(birth_mac) = 32"
            " AND octet_length(guardian_hash) = 32 AND octet_length(code_mac) = 32",
            name=op.f("ck_benefit_grant_hashes"),
        ),
        sa.CheckConstraint(
            "returned_yen BETWEEN 0 AND amount_yen", name=op.f("ck_benefit_grant_returned")
        ),
    ]


def _index_benefit_grant() -> None:
    op.create_index(
        "ix_benefit_grant_account_id",
        "benefit_grant",
        ["account_id"],
        unique=False,
        postgresql_where=sa.text("account_id IS NOT NULL"),
    )
    op.create_index(
        "ix_benefit_grant_beneficiary_hash", "benefit_grant", ["beneficiary_hash"], unique=False
    )
    op.create_index(
        "ix_benefit_grant_guardian_hash",
        "benefit_grant",
        ["guardian_hash"],
        unique=False,
        postgresql_where=sa.text("guardian_hash IS NOT NULL"),
    )
    op.create_index(
        "ix_benefit_grant_run_id_due_at_id",
        "benefit_grant",
        ["run_id", "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'due'"),
    )
    op.create_index(
        "uq_benefit_grant_code_mac",
        "benefit_grant",
        ["code_mac"],
        unique=True,
        postgresql_where=sa.text("code_mac IS NOT NULL"),
    )
    op.create_index(
        "uq_benefit_grant_programme_id_period_beneficiary_hash",
        "benefit_grant",
        ["programme_id", "period", "beneficiary_hash"],
        unique=True,
        postgresql_where=sa.text("state NOT IN ('withdrawn', 'clawed_back')"),
    )
    op.create_index(
        "uq_benefit_grant_run_id_row_number", "benefit_grant", ["run_id", "row_number"], unique=True
    )


def _create_benefit_row_error() -> None:
    op.create_table(
        "benefit_row_error",
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column("row_number", sa.Integer(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["benefit_run.id"], name=op.f("fk_benefit_row_error_run_id_benefit_run")
        ),
        sa.PrimaryKeyConstraint("run_id", "row_number", "field", name=op.f("pk_benefit_row_error")),
        comment="Append-only; what stood in the row is not kept.",
    )


def _create_beneficiary() -> None:
    op.create_table(
        "beneficiary",
        sa.Column("beneficiary_hash", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("proven_by", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "proven_by IN ('code', 'counter')", name=op.f("ck_beneficiary_proven_by")
        ),
        sa.CheckConstraint(
            "octet_length(beneficiary_hash) = 32", name=op.f("ck_beneficiary_beneficiary_hash")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_beneficiary_person_id_person")
        ),
        sa.PrimaryKeyConstraint("beneficiary_hash", name=op.f("pk_beneficiary")),
    )
    op.create_index("ix_beneficiary_person_id", "beneficiary", ["person_id"], unique=False)


def _create_benefit_claw_back() -> None:
    op.create_table(
        "benefit_claw_back",
        sa.Column("id", sa.UUID(), nullable=False, comment="its transfer's id follows it"),
        sa.Column("grant_id", sa.UUID(), nullable=False),
        sa.Column(
            "amount_yen", sa.BigInteger(), nullable=False, comment="what was paid by mistake"
        ),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("returned_yen", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "(state = 'done') = (done_at IS NOT NULL)", name=op.f("ck_benefit_claw_back_done_at")
        ),
        sa.CheckConstraint(
            "because IN ('overpaid', 'not_entitled', 'duplicate', 'deceased', 'moved')",
            name=op.f("ck_benefit_claw_back_because"),
        ),
        sa.CheckConstraint("state IN ('due', 'done')", name=op.f("ck_benefit_claw_back_state")),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_benefit_claw_back_amount_positive")),
        sa.CheckConstraint(
            "returned_yen BETWEEN 0 AND amount_yen", name=op.f("ck_benefit_claw_back_returned")
        ),
        sa.ForeignKeyConstraint(
            ["grant_id"],
            ["benefit_grant.id"],
            name=op.f("fk_benefit_claw_back_grant_id_benefit_grant"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_benefit_claw_back")),
    )
    op.create_index(
        "ix_benefit_claw_back_grant_id", "benefit_claw_back", ["grant_id"], unique=False
    )
    op.create_index(
        "ix_benefit_claw_back_state",
        "benefit_claw_back",
        ["state"],
        unique=False,
        postgresql_where=sa.text("state = 'due'"),
    )
    op.create_index(
        "uq_benefit_claw_back_grant_id",
        "benefit_claw_back",
        ["grant_id"],
        unique=True,
        postgresql_where=sa.text("state = 'due'"),
    )


def _create_benefit_receivable() -> None:
    op.create_table(
        "benefit_receivable",
        sa.Column("claw_back_id", sa.UUID(), nullable=False),
        sa.Column(
            "amount_yen", sa.BigInteger(), nullable=False, comment="spent already, to be paid back"
        ),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_benefit_receivable_amount_positive")),
        sa.ForeignKeyConstraint(
            ["claw_back_id"],
            ["benefit_claw_back.id"],
            name=op.f("fk_benefit_receivable_claw_back_id_benefit_claw_back"),
        ),
        sa.PrimaryKeyConstraint("claw_back_id", name=op.f("pk_benefit_receivable")),
        comment="Append-only; a wallet never owes anything, a person may.",
    )


def _grant() -> None:
    for table in ("benefit_row_error", "benefit_receivable"):
        op.execute(f"CALL make_immutable('{table}')")
    op.execute(
        "GRANT SELECT, INSERT ON benefit_run, benefit_grant, benefit_row_error, beneficiary,"
        " benefit_claw_back, benefit_receivable TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (state, paused_at, approved_at, finished_at) ON benefit_run TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (state, because, due_at, wallet_id, account_id, claimed_by, claimed_at,"
        " granted_at, code_mac, code_failures, returned_yen) ON benefit_grant TO wallet_app"
    )
    op.execute("GRANT UPDATE (state, done_at, returned_yen) ON benefit_claw_back TO wallet_app")
