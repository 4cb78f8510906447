"""Staff, their roles, and approvals by two."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_staff()
    _create_staff_role()
    _create_staff_family()
    _create_staff_enrolment()
    _create_approval()
    _guard_approvals()
    _grant()


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("approval")
    op.execute("DROP FUNCTION refuse_second_approval")
    op.drop_table("staff_enrolment")
    op.drop_table("staff_family")
    op.drop_table("staff_role")
    op.drop_table("staff")


def _create_staff() -> None:
    op.create_table(
        "staff",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column(
            "login_hash",
            sa.LargeBinary(),
            nullable=False,
            comment="keyed; of the employee number",
        ),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("department", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "person_id",
            sa.UUID(),
            nullable=True,
            comment="who this is as a resident; NULL: nobody known",
        ),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        *_checks(
            "staff",
            login_hash="octet_length(login_hash) = 32",
            display_name="length(display_name) BETWEEN 1 AND 64",
            state="state IN ('invited', 'active', 'suspended')",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
        sa.UniqueConstraint("login_hash", name=op.f("uq_staff_login_hash")),
    )


def _create_staff_role() -> None:
    op.create_table(
        "staff_role",
        sa.Column("staff_id", sa.UUID(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False, comment="of roles.toml"),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        _of_staff("staff_role", "staff_id"),
        sa.PrimaryKeyConstraint("staff_id", "role", name=op.f("pk_staff_role")),
    )


def _create_staff_family() -> None:
    op.create_table(
        "staff_family",
        sa.Column("staff_id", sa.UUID(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        _of_staff("staff_family", "staff_id"),
        sa.PrimaryKeyConstraint("staff_id", "person_id", name=op.f("pk_staff_family")),
    )


def _create_staff_enrolment() -> None:
    op.create_table(
        "staff_enrolment",
        sa.Column("staff_id", sa.UUID(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False, comment="keyed; for who asked"),
        sa.Column(
            "second_hash",
            sa.LargeBinary(),
            nullable=True,
            comment="keyed; for who approved, once they take it",
        ),
        sa.Column("approved_by", sa.UUID(), nullable=True, comment="NULL: made at the shell"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        *_checks(
            "staff_enrolment",
            code_hash="octet_length(code_hash) = 32",
            second_hash="octet_length(second_hash) = 32",
            second_of_approver="second_hash IS NULL OR approved_by IS NOT NULL",
        ),
        _of_staff("staff_enrolment", "approved_by"),
        _of_staff("staff_enrolment", "staff_id"),
        sa.PrimaryKeyConstraint("staff_id", name=op.f("pk_staff_enrolment")),
    )


def _create_approval() -> None:
    op.create_table(
        "approval",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False, comment="of approvals.toml"),
        sa.Column("subject", sa.Text(), nullable=False, comment="public id of whom it is about"),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column(
            "payload_hash",
            sa.LargeBinary(),
            nullable=False,
            comment="keyed; of all that is approved",
        ),
        sa.Column("requested_by", sa.UUID(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.UUID(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decided_because", sa.Text(), nullable=True, comment="why not"),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("executed_at", sa.DateTime(timezone=True), nullable=True),
        *_checks(
            "approval",
            payload_hash="octet_length(payload_hash) = 32",
            subject="subject ~ '^(per|stf)_[0-9a-f]{32}$'",
            reason="length(reason) BETWEEN 4 AND 500",
            expires_later="expires_at > requested_at",
            four_eyes="decided_by <> requested_by",
            decision="decision IN ('approved', 'rejected')",
            decided_by_somebody="(decided_by IS NULL) = (decision IS NULL)"
            " AND (decided_by IS NULL) = (decided_at IS NULL)",
            rejected_says_why="decision IS DISTINCT FROM 'rejected' OR decided_because IS NOT NULL",
            executed_once_approved="executed_at IS NULL OR (decision = 'approved') IS TRUE",
        ),
        _of_staff("approval", "decided_by"),
        _of_staff("approval", "requested_by"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
    )
    op.create_index(
        "ix_approval_open",
        "approval",
        ["id"],
        unique=False,
        postgresql_where=sa.text("executed_at IS NULL"),
    )
    op.create_index(
        "ix_approval_requested_by", "approval", ["requested_by", "requested_at"], unique=False
    )


def _checks(table: str, **conditions: str) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))
        for name, condition in conditions.items()
    ]


def _of_staff(table: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["staff.id"], name=op.f(f"fk_{table}_{column}_staff"))


def _guard_approvals() -> None:
    """What was asked for stays what it was; it is decided once, and carried out once."""
    op.execute("""
        CREATE FUNCTION refuse_second_approval() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (NEW.id, NEW.action, NEW.subject, NEW.payload, NEW.payload_hash, NEW.requested_by,
                NEW.reason, NEW.requested_at, NEW.expires_at)
               IS DISTINCT FROM
               (OLD.id, OLD.action, OLD.subject, OLD.payload, OLD.payload_hash, OLD.requested_by,
                OLD.reason, OLD.requested_at, OLD.expires_at)
               OR OLD.executed_at IS NOT NULL
               OR OLD.decision IS NOT NULL AND
               (NEW.decided_by, NEW.decision, NEW.decided_because, NEW.decided_at)
               IS DISTINCT FROM
               (OLD.decided_by, OLD.decision, OLD.decided_because, OLD.decided_at)
            THEN
                RAISE EXCEPTION 'request % stays as it is', OLD.id
                    USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute(
        "CREATE TRIGGER approval_decided_once BEFORE UPDATE ON approval"
        " FOR EACH ROW EXECUTE FUNCTION refuse_second_approval()"
    )


def _grant() -> None:
    op.execute(
        "GRANT SELECT, INSERT ON staff, staff_role, staff_family, staff_enrolment, approval"
        " TO wallet_app"
    )
    op.execute("GRANT DELETE ON staff_role, staff_family TO wallet_app")
    op.execute("GRANT UPDATE (state, person_id) ON staff TO wallet_app")
    op.execute(
        "GRANT UPDATE (code_hash, second_hash, approved_by, expires_at, used_at)"
        " ON staff_enrolment TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (decided_by, decision, decided_because, decided_at, executed_at)"
        " ON approval TO wallet_app"
    )
