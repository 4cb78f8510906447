"""The audit trail, stops as an instrument, incidents."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

IMMUTABLE = ("audit_entry", "incident_entry")


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_incident()
    _create_incident_entry()
    _create_incident_report()
    _create_stop()
    _create_audit_entry()
    _create_audit_head()
    for table in IMMUTABLE:
        op.execute(f"CALL make_immutable('{table}')")
    _guard_stories()
    _grant()
    _fill()


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("audit_head")
    op.drop_table("audit_entry")
    op.drop_table("stop")
    op.drop_table("incident_report")
    op.drop_table("incident_entry")
    op.drop_table("incident")
    op.execute("DROP FUNCTION refuse_change_of_what_is_over")


def _create_incident() -> None:
    op.create_table(
        "incident",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("noticed_by", sa.Text(), nullable=False, comment="a role or a way, never a name"),
        sa.Column("noticed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "first_contact", sa.Text(), nullable=True, comment="the office that was told first"
        ),
        sa.Column("malicious", sa.Boolean(), nullable=False),
        sa.Column("sensitive", sa.Boolean(), nullable=False),
        sa.Column("persons", sa.Integer(), nullable=True, comment="NULL is not known yet"),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('leak', 'misconduct', 'clerical', 'outage', 'fraud')",
            name=op.f("ck_incident_kind"),
        ),
        sa.CheckConstraint("persons >= 0", name=op.f("ck_incident_persons")),
        sa.CheckConstraint(
            "(closed_by IS NULL) = (closed_at IS NULL)", name=op.f("ck_incident_closed_by_somebody")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident")),
    )


def _create_incident_entry() -> None:
    op.create_table(
        "incident_entry",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("incident_id", sa.UUID(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("length(note) > 0", name=op.f("ck_incident_entry_note")),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incident.id"], name=op.f("fk_incident_entry_incident_id_incident")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident_entry")),
        comment="Append-only: what was found out and done, in its order.",
    )
    op.create_index("ix_incident_entry_incident_id", "incident_entry", ["incident_id", "id"])


def _create_incident_report() -> None:
    op.create_table(
        "incident_report",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("incident_id", sa.UUID(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("settled_by", sa.Text(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('sent', 'not_needed')", name=op.f("ck_incident_report_outcome")
        ),
        sa.CheckConstraint(
            "(outcome IS NULL) = (settled_by IS NULL) AND (outcome IS NULL) = (settled_at IS NULL)",
            name=op.f("ck_incident_report_settled_by_somebody"),
        ),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incident.id"], name=op.f("fk_incident_report_incident_id_incident")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident_report")),
        sa.UniqueConstraint(
            "incident_id",
            "recipient",
            "report",
            name=op.f("uq_incident_report_incident_id_recipient_report"),
        ),
        comment="What is owed to whom, and when.",
    )


def _create_stop() -> None:
    op.create_table(
        "stop",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("drill", sa.Boolean(), nullable=False, comment="it stopped nothing"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("engaged_by", sa.Text(), nullable=False),
        sa.Column("engaged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_notice_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("incident_id", sa.UUID(), nullable=True),
        sa.Column("release_reason", sa.Text(), nullable=True),
        sa.Column("release_requested_by", sa.Text(), nullable=True),
        sa.Column("release_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("length(reason) > 0", name=op.f("ck_stop_reason")),
        sa.CheckConstraint(
            "(release_requested_by IS NULL) = (release_requested_at IS NULL)"
            " AND (release_requested_by IS NULL) = (release_reason IS NULL)",
            name=op.f("ck_stop_release_requested_by_somebody"),
        ),
        sa.CheckConstraint(
            "(released_by IS NULL) = (released_at IS NULL)"
            " AND (released_by IS NULL OR release_requested_by IS NOT NULL)",
            name=op.f("ck_stop_released_on_request"),
        ),
        sa.CheckConstraint("released_by <> release_requested_by", name=op.f("ck_stop_four_eyes")),
        sa.CheckConstraint(
            "NOT drill OR release_requested_by IS NULL", name=op.f("ck_stop_drills_stop_nothing")
        ),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incident.id"], name=op.f("fk_stop_incident_id_incident")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stop")),
        comment="The story of each stop and drill; what is in force stands in stop_control.",
    )
    op.create_index(
        "ix_stop_engaged",
        "stop",
        ["scope"],
        unique=True,
        postgresql_where=sa.text("released_at IS NULL AND NOT drill"),
    )


def _create_audit_entry() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False, comment="microseconds since the epoch"),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "origin", sa.Text(), nullable=True, comment="plane and keyed hash of the address"
        ),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("seq > 0", name=op.f("ck_audit_entry_seq")),
        sa.CheckConstraint("outcome IN ('done', 'refused')", name=op.f("ck_audit_entry_outcome")),
        sa.CheckConstraint(
            "length(previous_hash) = 32 AND length(hash) = 32", name=op.f("ck_audit_entry_hashes")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entry")),
        comment="Append-only; each entry's hash covers the one before it.",
    )
    op.create_index("ix_audit_entry_subject", "audit_entry", ["subject", "seq"])
    op.create_index("ix_audit_entry_actor", "audit_entry", ["actor", "seq"])


def _create_audit_head() -> None:
    op.create_table(
        "audit_head",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_one_row")),
        sa.CheckConstraint("length(hash) = 32", name=op.f("ck_audit_head_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
        comment="The last entry of the audit trail; its lock puts entries into one order.",
    )


def _guard_stories() -> None:
    """A stop that was released, a drill and a report that was settled are over for good."""
    op.execute("""
        CREATE FUNCTION refuse_change_of_what_is_over() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% % is over', TG_TABLE_NAME, OLD.id
                USING ERRCODE = 'restrict_violation';
        END $$
    """)
    for table, is_over in (
        ("stop", "OLD.released_at IS NOT NULL OR OLD.drill"),
        ("incident", "OLD.closed_at IS NOT NULL"),
        ("incident_report", "OLD.outcome IS NOT NULL"),
    ):
        op.execute(
            f"CREATE TRIGGER {table}_is_over BEFORE UPDATE ON {table} FOR EACH ROW"
            f" WHEN ({is_over}) EXECUTE FUNCTION refuse_change_of_what_is_over()"
        )


def _grant() -> None:
    """Facts are written once; only what becomes of them later may be filled in."""
    op.execute(
        "GRANT SELECT, INSERT ON"
        " stop, incident, incident_entry, incident_report, audit_entry TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (effective_at, next_notice_at, incident_id, release_reason,"
        " release_requested_by, release_requested_at, released_by, released_at)"
        " ON stop TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (first_contact, malicious, sensitive, persons, closed_by, closed_at)"
        " ON incident TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (due_at, outcome, settled_by, settled_at) ON incident_report TO wallet_app"
    )
    op.execute("GRANT SELECT, UPDATE (seq, hash) ON audit_head TO wallet_app")


def _fill() -> None:
    """Begin the trail, and the stories of what is stopped at this moment."""
    op.execute(
        "INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'))"
    )
    op.execute("""
        INSERT INTO stop (id, scope, drill, reason, engaged_by, engaged_at, effective_at)
        SELECT DISTINCT ON (e.scope)
               e.id, e.scope, false, e.reason, e.actor, e.created_at, e.created_at
        FROM stop_control AS c CROSS JOIN unnest(c.scopes) AS engaged (scope)
        JOIN stop_event AS e ON e.scope = engaged.scope AND e.action = 'engage'
        ORDER BY e.scope, e.created_at DESC
    """)
