"""Devices, the sessions opened on them, proofs used up, and challenges beyond signing in."""

from sqlalchemy import (
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
from wallet.core.my_number import refused_in

device = Table(
    "device",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("principal_id", UUID, nullable=False, comment="a person or a member of staff"),
    Column("public_key", LargeBinary, nullable=False, comment="P-256, uncompressed"),
    Column("thumbprint", LargeBinary, nullable=False, comment="of the public key, RFC 7638"),
    Column("verified_key", LargeBinary, comment="P-256; the phone lends it to its user alone"),
    Column("name", Text, nullable=False),
    Column("app_version", Text, nullable=False),
    Column("enrolled_at", DateTime(timezone=True), nullable=False),
    Column("cooling_until", DateTime(timezone=True), comment="until then little can be done"),
    Column("revoked_at", DateTime(timezone=True)),
    UniqueConstraint("thumbprint"),
    Index("ix_device_principal_id", "principal_id"),
    CheckConstraint("octet_length(public_key) = 65", name="public_key"),
    CheckConstraint("octet_length(thumbprint) = 32", name="thumbprint"),
    CheckConstraint("octet_length(verified_key) = 65", name="verified_key"),
    CheckConstraint("verified_key <> public_key", name="two_keys"),
    CheckConstraint("length(name) BETWEEN 1 AND 64", name="name"),
    CheckConstraint(refused_in("name"), name="no_my_number"),
    CheckConstraint("length(app_version) BETWEEN 1 AND 32", name="app_version"),
)

# Tokens are computed from these rows and the pepper; none is kept.
session = Table(
    "session",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("principal_id", UUID, nullable=False),
    Column("device_id", UUID, ForeignKey("device.id"), comment="NULL: a browser of staff"),
    Column("salt", LargeBinary, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("rotated_at", DateTime(timezone=True), nullable=False),
    Column("idle_s", Integer, nullable=False, comment="how long it may go without a rotation"),
    Column("authenticated", JSONB, nullable=False, comment="[{class, method, at}], at in µs"),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("revoked_because", Text),
    Index("ix_session_principal_id", "principal_id", postgresql_where=text("revoked_at IS NULL")),
    Index("ix_session_device_id", "device_id", postgresql_where=text("revoked_at IS NULL")),
    CheckConstraint("octet_length(salt) = 16", name="salt"),
    CheckConstraint("generation > 0 AND idle_s > 0", name="generation_and_idle"),
    CheckConstraint("(revoked_at IS NULL) = (revoked_because IS NULL)", name="revoked_says_why"),
)

used_proof = Table(
    "used_proof",
    metadata,
    Column("jti_hash", LargeBinary, primary_key=True),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("ix_used_proof_expires_at", "expires_at"),
    CheckConstraint("octet_length(jti_hash) = 32", name="hashed"),
    comment="Proofs of requests that changed something; each write sweeps two that are over.",
)

# No foreign key to the device: each check would write a lock into the device's row, and payments
# that ask for an approval must not cost much more than others.
step_up = Table(
    "step_up",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("principal_id", UUID, nullable=False),
    Column("device_id", UUID, comment="NULL: any of the principal's"),
    Column("operation", Text, nullable=False),
    Column("op_hash", LargeBinary, nullable=False, comment="SHA-256 of the canonical operation"),
    Column("nonce", LargeBinary, nullable=False),
    Column("summary", JSONB, nullable=False, comment="what the phone shows; made by the server"),
    Column("required", ARRAY(Text), nullable=False, comment="levels, any of which will do"),
    Column("max_age_s", Integer, nullable=False),
    Column("number_match", Text, comment="what the one who was pushed must read elsewhere"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("failures", SmallInteger, nullable=False, server_default="0"),
    Column("passed_at", DateTime(timezone=True)),
    Column("passed_acr", Text),
    Column("classes", ARRAY(Text), comment="the factor classes that were shown"),
    Column("consumed_at", DateTime(timezone=True)),
    Column("consumed_by", UUID, comment="what the money moved for"),
    Index("ix_step_up_principal_id_created_at", "principal_id", "created_at"),
    CheckConstraint("octet_length(op_hash) = 32", name="op_hash"),
    CheckConstraint("octet_length(nonce) = 32", name="nonce"),
    CheckConstraint("cardinality(required) > 0 AND max_age_s > 0", name="required"),
    CheckConstraint("number_match ~ '^[0-9]{2}$'", name="number_match"),
    CheckConstraint("failures BETWEEN 0 AND 5", name="failures"),
    CheckConstraint(
        "(passed_at IS NULL) = (passed_acr IS NULL) AND (passed_at IS NULL) = (classes IS NULL)",
        name="passed_says_how",
    ),
    CheckConstraint("(consumed_at IS NULL) = (consumed_by IS NULL)", name="consumed_says_by_what"),
    CheckConstraint("consumed_at IS NULL OR passed_at IS NOT NULL", name="consumed_once_passed"),
    # Each row is changed twice, in columns without an index; let it stay on its page.
    postgresql_with={"fillfactor": 70},
)
