"""The stop row that every batch obeys, and the outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

IMMUTABLE = ("stop_event", "outbox")


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_stop_control()
    _create_stop_event()
    _create_outbox()
    for table in IMMUTABLE:
        op.execute(f"CALL make_immutable('{table}')")
    _grant()


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("outbox")
    op.drop_table("stop_event")
    op.drop_table("stop_control")


def _create_stop_control() -> None:
    op.create_table(
        "stop_control",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "scopes",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            comment="what is stopped right now",
        ),
        sa.CheckConstraint("id = 1", name=op.f("ck_stop_control_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stop_control")),
    )


def _create_stop_event() -> None:
    op.create_table(
        "stop_event",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("action IN ('engage', 'release')", name=op.f("ck_stop_event_action")),
        sa.CheckConstraint("length(reason) > 0", name=op.f("ck_stop_event_reason")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stop_event")),
        comment="Append-only.",
    )


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_outbox")),
        comment="Append-only; a reader keeps its own place.",
    )


def _grant() -> None:
    op.execute("INSERT INTO stop_control (id, scopes) VALUES (1, '{}')")
    op.execute("GRANT SELECT, UPDATE ON stop_control TO wallet_app")
    op.execute("GRANT SELECT, INSERT ON stop_event, outbox TO wallet_app")
