"""What may hold money up and what was done about it: stops, the audit trail, incidents."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from wallet.core.database import metadata

stop_control = Table(
    "stop_control",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("scopes", ARRAY(Text), nullable=False, comment="what is stopped right now"),
    CheckConstraint("id = 1", name="one_row"),
)

stop_event = Table(
    "stop_event",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("action IN ('engage', 'release')", name="action"),
    CheckConstraint("length(reason) > 0", name="reason"),
    comment="Append-only.",
)

incident = Table(
    "incident",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("noticed_by", Text, nullable=False, comment="a role or a way, never a name"),
    Column("noticed_at", DateTime(timezone=True), nullable=False),
    Column("first_contact", Text, nullable=True, comment="the office that was told first"),
    Column("malicious", Boolean, nullable=False),
    Column("sensitive", Boolean, nullable=False),
    Column("persons", Integer, nullable=True, comment="NULL is not known yet"),
    Column("opened_by", Text, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("closed_by", Text, nullable=True),
    Column("closed_at", DateTime(timezone=True), nullable=True),
    CheckConstraint("kind IN ('leak', 'misconduct', 'clerical', 'outage', 'fraud')", name="kind"),
    CheckConstraint("persons >= 0", name="persons"),
    CheckConstraint("(closed_by IS NULL) = (closed_at IS NULL)", name="closed_by_somebody"),
)

incident_entry = Table(
    "incident_entry",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("incident_id", UUID, ForeignKey("incident.id"), nullable=False),
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("length(note) > 0", name="note"),
    Index("ix_incident_entry_incident_id", "incident_id", "id"),
    comment="Append-only: what was found out and done, in its order.",
)

incident_report = Table(
    "incident_report",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("incident_id", UUID, ForeignKey("incident.id"), nullable=False),
    Column("recipient", Text, nullable=False),
    Column("report", Text, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("outcome", Text, nullable=True),
    Column("settled_by", Text, nullable=True),
    Column("settled_at", DateTime(timezone=True), nullable=True),
    CheckConstraint("outcome IN ('sent', 'not_needed')", name="outcome"),
    CheckConstraint(
        "(outcome IS NULL) = (settled_by IS NULL) AND (outcome IS NULL) = (settled_at IS NULL)",
        name="settled_by_somebody",
    ),
    UniqueConstraint("incident_id", "recipient", "report"),
    comment="What is owed to whom, and when.",
)

stop = Table(
    "stop",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("drill", Boolean, nullable=False, comment="it stopped nothing"),
    Column("reason", Text, nullable=False),
    Column("engaged_by", Text, nullable=False),
    Column("engaged_at", DateTime(timezone=True), nullable=False),
    Column("effective_at", DateTime(timezone=True), nullable=True),
    Column("next_notice_at", DateTime(timezone=True), nullable=True),
    Column("incident_id", UUID, ForeignKey("incident.id"), nullable=True),
    Column("release_reason", Text, nullable=True),
    Column("release_requested_by", Text, nullable=True),
    Column("release_requested_at", DateTime(timezone=True), nullable=True),
    Column("released_by", Text, nullable=True),
    Column("released_at", DateTime(timezone=True), nullable=True),
    CheckConstraint("length(reason) > 0", name="reason"),
    CheckConstraint(
        "(release_requested_by IS NULL) = (release_requested_at IS NULL)"
        " AND (release_requested_by IS NULL) = (release_reason IS NULL)",
        name="release_requested_by_somebody",
    ),
    CheckConstraint(
        "(released_by IS NULL) = (released_at IS NULL)"
        " AND (released_by IS NULL OR release_requested_by IS NOT NULL)",
        name="released_on_request",
    ),
    CheckConstraint("released_by <> release_requested_by", name="four_eyes"),
    CheckConstraint("NOT drill OR release_requested_by IS NULL", name="drills_stop_nothing"),
    # One story at a time for what is stopped; an upsert relies on it.
    Index(
        "ix_stop_engaged",
        "scope",
        unique=True,
        postgresql_where=text("released_at IS NULL AND NOT drill"),
    ),
    comment="The story of each stop and drill; what is in force stands in stop_control.",
)

audit_entry = Table(
    "audit_entry",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False, comment="microseconds since the epoch"),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("subject", Text, nullable=True),
    Column("reason", Text, nullable=True),
    Column("origin", Text, nullable=True, comment="plane and keyed hash of the address"),
    Column("outcome", Text, nullable=False),
    Column("details", JSONB, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("seq > 0", name="seq"),
    CheckConstraint("outcome IN ('done', 'refused')", name="outcome"),
    CheckConstraint("length(previous_hash) = 32 AND length(hash) = 32", name="hashes"),
    Index("ix_audit_entry_subject", "subject", "seq"),
    Index("ix_audit_entry_actor", "actor", "seq"),
    comment="Append-only; each entry's hash covers the one before it.",
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
    CheckConstraint("length(hash) = 32", name="hash"),
    comment="The last entry of the audit trail; its lock puts entries into one order.",
)
