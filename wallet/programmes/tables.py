"""Programmes: kinds of money as data; every version of the terms is kept, and every draft.

A trigger writes ``programme_version`` with each change of a programme, so that no way of changing
one can forget it.
"""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wallet.core.database import metadata

programme = Table(
    "programme",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("number", Integer, nullable=False, comment="user_data_32 of its transfers"),
    Column("code", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("terms", JSONB, nullable=False),
    Column("clearing_account_id", UUID, nullable=False, comment="money received for it"),
    Column("budget_account_id", UUID, nullable=False, comment="what the city adds"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("state", Text, nullable=False, server_default="live"),
    Column("live_on", Date, comment="the day in Japan it begins; NULL: at once"),
    Column(
        "changed_at",
        DateTime(timezone=True),
        comment="when the version began; NULL: as it was created",
    ),
    UniqueConstraint("number"),
    UniqueConstraint("code"),
    CheckConstraint("number > 0 AND version > 0", name="number_and_version"),
    CheckConstraint("state IN ('scheduled', 'live', 'ended', 'settled')", name="state"),
    CheckConstraint("state <> 'scheduled' OR live_on IS NOT NULL", name="scheduled_for_a_day"),
)

programme_version = Table(
    "programme_version",
    metadata,
    Column("programme_id", UUID, ForeignKey("programme.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("terms", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    comment="Every version a programme has had; written with it, and never again.",
)

programme_draft = Table(
    "programme_draft",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("code", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("terms", JSONB, nullable=False, comment="the draft, code and all"),
    Column("state", Text, nullable=False),
    Column("written_by", Text, nullable=False, comment="as in the audit trail"),
    Column("written_at", DateTime(timezone=True), nullable=False),
    Column("decided_at", DateTime(timezone=True)),
    Column("live_on", Date, comment="the day in Japan it is scheduled for"),
    Column(
        "applied_at",
        DateTime(timezone=True),
        comment="when the worker made it the programme's terms",
    ),
    Column("refusal", JSONB, comment="why the worker could not"),
    UniqueConstraint("code", "revision"),
    CheckConstraint("revision > 0", name="revision"),
    CheckConstraint("state IN ('draft', 'review', 'approved', 'withdrawn')", name="state"),
    CheckConstraint("state IN ('draft', 'review') = (decided_at IS NULL)", name="decided"),
    CheckConstraint(
        "state = 'approved' OR (live_on IS NULL AND applied_at IS NULL)",
        name="approved_before_scheduled",
    ),
    Index(
        "uq_programme_draft_open",
        "code",
        unique=True,
        postgresql_where=text("state IN ('draft', 'review')"),
    ),
    Index(
        "ix_programme_draft_due",
        "id",
        postgresql_where=text("state = 'approved' AND live_on IS NOT NULL AND applied_at IS NULL"),
    ),
    comment="One row for each revision that was saved; its terms never change.",
)
