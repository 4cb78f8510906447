"""Staff: accounts, roles, families, first passkeys, and what waits for a second person."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wallet.core.database import metadata

staff = Table(
    "staff",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("login_hash", LargeBinary, nullable=False, comment="keyed; of the employee number"),
    Column("display_name", Text, nullable=False),
    Column("department", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("person_id", UUID, comment="who this is as a resident; NULL: nobody known"),
    Column("added_at", DateTime(timezone=True), nullable=False),
    # One employee, one account: a second one would be a second pair of eyes.
    UniqueConstraint("login_hash"),
    CheckConstraint("octet_length(login_hash) = 32", name="login_hash"),
    CheckConstraint("length(display_name) BETWEEN 1 AND 64", name="display_name"),
    CheckConstraint("state IN ('invited', 'active', 'suspended')", name="state"),
)

staff_role = Table(
    "staff_role",
    metadata,
    Column("staff_id", UUID, ForeignKey("staff.id"), primary_key=True),
    Column("role", Text, primary_key=True, comment="of roles.toml"),
    Column("granted_at", DateTime(timezone=True), nullable=False),
)

# No foreign key: residents are known to the rooms above.
staff_family = Table(
    "staff_family",
    metadata,
    Column("staff_id", UUID, ForeignKey("staff.id"), primary_key=True),
    Column("person_id", UUID, primary_key=True),
    Column("noted_at", DateTime(timezone=True), nullable=False),
)

# Two codes for two people: neither who asked nor who approved can enrol alone in another's name.
staff_enrolment = Table(
    "staff_enrolment",
    metadata,
    Column("staff_id", UUID, ForeignKey("staff.id"), primary_key=True),
    Column("code_hash", LargeBinary, nullable=False, comment="keyed; for who asked"),
    Column("second_hash", LargeBinary, comment="keyed; for who approved, once they take it"),
    Column("approved_by", UUID, ForeignKey("staff.id"), comment="NULL: made at the shell"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    CheckConstraint("octet_length(code_hash) = 32", name="code_hash"),
    CheckConstraint("octet_length(second_hash) = 32", name="second_hash"),
    CheckConstraint("second_hash IS NULL OR approved_by IS NOT NULL", name="second_of_approver"),
)

approval = Table(
    "approval",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("action", Text, nullable=False, comment="of approvals.toml"),
    Column("subject", Text, nullable=False, comment="public id of whom it is about"),
    Column("payload", JSONB, nullable=False),
    Column("payload_hash", LargeBinary, nullable=False, comment="keyed; of all that is approved"),
    Column("requested_by", UUID, ForeignKey("staff.id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("decided_by", UUID, ForeignKey("staff.id")),
    Column("decision", Text),
    Column("decided_because", Text, comment="why not"),
    Column("decided_at", DateTime(timezone=True)),
    Column("executed_at", DateTime(timezone=True)),
    Index("ix_approval_open", "id", postgresql_where=text("executed_at IS NULL")),
    Index("ix_approval_requested_by", "requested_by", "requested_at"),
    CheckConstraint("octet_length(payload_hash) = 32", name="payload_hash"),
    CheckConstraint("subject ~ '^[a-z]{3}_[0-9a-f]{32}$'", name="subject"),
    CheckConstraint("length(reason) BETWEEN 4 AND 500", name="reason"),
    CheckConstraint("expires_at > requested_at", name="expires_later"),
    CheckConstraint("decided_by <> requested_by", name="four_eyes"),
    CheckConstraint("decision IN ('approved', 'rejected')", name="decision"),
    CheckConstraint(
        "(decided_by IS NULL) = (decision IS NULL) AND (decided_by IS NULL) = (decided_at IS NULL)",
        name="decided_by_somebody",
    ),
    CheckConstraint(
        "decision IS DISTINCT FROM 'rejected' OR decided_because IS NOT NULL",
        name="rejected_says_why",
    ),
    CheckConstraint(
        "executed_at IS NULL OR (decision = 'approved') IS TRUE", name="executed_once_approved"
    ),
)
