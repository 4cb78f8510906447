"""The life of programmes: drafts with all their revisions, states, and every version kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _give_programmes_a_state()
    _create_programme_version()
    _keep_versions()
    _create_programme_draft()
    _let_approvals_be_about_matters()
    _grant()


def downgrade() -> None:
    """Remove them; programmes keep the terms they have now."""
    _allow_subjects("per|stf", valid=False)  # What was approved stays, whatever it was about.
    op.drop_table("programme_draft")
    op.execute("DROP TRIGGER keep_version ON programme")
    op.execute("DROP FUNCTION keep_programme_version")
    op.drop_table("programme_version")
    op.drop_constraint(op.f("ck_programme_scheduled_for_a_day"), "programme")
    op.drop_constraint(op.f("ck_programme_state"), "programme")
    for column in ("changed_at", "live_on", "state"):
        op.drop_column("programme", column)


def _give_programmes_a_state() -> None:
    # What there was before, and what an older release still creates, is live at once.
    op.add_column("programme", sa.Column("state", sa.Text(), server_default="live", nullable=False))
    op.add_column(
        "programme",
        sa.Column(
            "live_on", sa.Date(), nullable=True, comment="the day in Japan it begins; NULL: at once"
        ),
    )
    op.add_column(
        "programme",
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the version began; NULL: as it was created",
        ),
    )
    op.create_check_constraint(
        op.f("ck_programme_state"),
        "programme",
        "state IN ('scheduled', 'live', 'ended', 'settled')",
    )
    op.create_check_constraint(
        op.f("ck_programme_scheduled_for_a_day"),
        "programme",
        "state <> 'scheduled' OR live_on IS NOT NULL",
    )


def _create_programme_version() -> None:
    op.create_table(
        "programme_version",
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("terms", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["programme_id"],
            ["programme.id"],
            name=op.f("fk_programme_version_programme_id_programme"),
        ),
        sa.PrimaryKeyConstraint("programme_id", "version", name=op.f("pk_programme_version")),
        comment="Every version a programme has had; written with it, and never again.",
    )
    op.execute("""
        INSERT INTO programme_version (programme_id, version, state, terms, created_at)
        SELECT id, version, state, terms, created_at FROM programme
    """)
    op.execute("CALL make_immutable('programme_version')")


def _keep_versions() -> None:
    # Here and not in the application, so that no way of changing a programme can forget it; the
    # owner's right to insert is lent, because the application has none.
    op.execute("""
        CREATE FUNCTION keep_programme_version() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            EXECUTE format(
                'INSERT INTO %I.programme_version (programme_id, version, state, terms, created_at)'
                ' VALUES ($1, $2, $3, $4, $5)', TG_TABLE_SCHEMA
            ) USING NEW.id, NEW.version, NEW.state, NEW.terms,
                    coalesce(NEW.changed_at, NEW.created_at);
            RETURN NULL;
        END $$
    """)
    op.execute("ALTER FUNCTION keep_programme_version() SET search_path = pg_catalog")
    op.execute("""
        CREATE TRIGGER keep_version AFTER INSERT OR UPDATE OF version, terms, state ON programme
        FOR EACH ROW EXECUTE FUNCTION keep_programme_version()
    """)


def _create_programme_draft() -> None:
    op.create_table(
        "programme_draft",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("terms", postgresql.JSONB(), nullable=False, comment="the draft, code and all"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("written_by", sa.Text(), nullable=False, comment="as in the audit trail"),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "live_on", sa.Date(), nullable=True, comment="the day in Japan it is scheduled for"
        ),
        sa.Column(
            "applied_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the worker made it the programme's terms",
        ),
        sa.Column("refusal", postgresql.JSONB(), nullable=True, comment="why the worker could not"),
        sa.CheckConstraint("revision > 0", name=op.f("ck_programme_draft_revision")),
        sa.CheckConstraint(
            "state IN ('draft', 'review', 'approved', 'withdrawn')",
            name=op.f("ck_programme_draft_state"),
        ),
        sa.CheckConstraint(
            "state IN ('draft', 'review') = (decided_at IS NULL)",
            name=op.f("ck_programme_draft_decided"),
        ),
        sa.CheckConstraint(
            "state = 'approved' OR (live_on IS NULL AND applied_at IS NULL)",
            name=op.f("ck_programme_draft_approved_before_scheduled"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_programme_draft")),
        sa.UniqueConstraint("code", "revision", name=op.f("uq_programme_draft_code_revision")),
        comment="One row for each revision that was saved; its terms never change.",
    )
    op.create_index(
        "uq_programme_draft_open",
        "programme_draft",
        ["code"],
        unique=True,
        postgresql_where=sa.text("state IN ('draft', 'review')"),
    )
    op.create_index(
        "ix_programme_draft_due",
        "programme_draft",
        ["id"],
        postgresql_where=sa.text(
            "state = 'approved' AND live_on IS NOT NULL AND applied_at IS NULL"
        ),
    )


def _let_approvals_be_about_matters() -> None:
    _allow_subjects("[a-z]{3}", valid=True)


def _allow_subjects(prefixes: str, *, valid: bool) -> None:
    op.drop_constraint(op.f("ck_approval_subject"), "approval")
    op.create_check_constraint(
        op.f("ck_approval_subject"),
        "approval",
        f"subject ~ '^({prefixes})_[0-9a-f]{{32}}$'",
        postgresql_not_valid=not valid,
    )


def _grant() -> None:
    op.execute("GRANT UPDATE (state, live_on, changed_at) ON programme TO wallet_app")
    op.execute("GRANT SELECT ON programme_version TO wallet_app")
    op.execute("GRANT SELECT, INSERT ON programme_draft TO wallet_app")
    op.execute(
        "GRANT UPDATE (state, decided_at, live_on, applied_at, refusal) ON programme_draft"
        " TO wallet_app"
    )
