"""Devices, sessions, used proofs, step-up challenges."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_device()
    _create_session()
    _create_used_proof()
    _create_step_up()
    _grant()


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("step_up")
    op.drop_table("used_proof")
    op.drop_table("session")
    op.drop_table("device")


def _create_device() -> None:
    op.create_table(
        "device",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column(
            "principal_id", sa.UUID(), nullable=False, comment="a person or a member of staff"
        ),
        sa.Column("public_key", sa.LargeBinary(), nullable=False, comment="P-256, uncompressed"),
        sa.Column(
            "thumbprint",
            sa.LargeBinary(),
            nullable=False,
            comment="of the public key, RFC 7638",
        ),
        sa.Column(
            "verified_key",
            sa.LargeBinary(),
            nullable=True,
            comment="P-256; the phone lends it to its user alone",
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("app_version", sa.Text(), nullable=False),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "cooling_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="until then little can be done",
        ),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("octet_length(public_key) = 65", name=op.f("ck_device_public_key")),
        sa.CheckConstraint("octet_length(thumbprint) = 32", name=op.f("ck_device_thumbprint")),
        sa.CheckConstraint("octet_length(verified_key) = 65", name=op.f("ck_device_verified_key")),
        sa.CheckConstraint("verified_key <> public_key", name=op.f("ck_device_two_keys")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 64", name=op.f("ck_device_name")),
        sa.CheckConstraint(
            "length(app_version) BETWEEN 1 AND 32", name=op.f("ck_device_app_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
        sa.UniqueConstraint("thumbprint", name=op.f("uq_device_thumbprint")),
    )
    op.create_index("ix_device_principal_id", "device", ["principal_id"], unique=False)


def _create_session() -> None:
    op.create_table(
        "session",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("principal_id", sa.UUID(), nullable=False),
        sa.Column("device_id", sa.UUID(), nullable=True, comment="NULL: a browser of staff"),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "idle_s",
            sa.Integer(),
            nullable=False,
            comment="how long it may go without a rotation",
        ),
        sa.Column(
            "authenticated",
            postgresql.JSONB(),
            nullable=False,
            comment="[{class, method, at}], at in µs",
        ),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_because", sa.Text(), nullable=True),
        sa.CheckConstraint("octet_length(salt) = 16", name=op.f("ck_session_salt")),
        sa.CheckConstraint(
            "generation > 0 AND idle_s > 0", name=op.f("ck_session_generation_and_idle")
        ),
        sa.CheckConstraint(
            "(revoked_at IS NULL) = (revoked_because IS NULL)",
            name=op.f("ck_session_revoked_says_why"),
        ),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_session_device_id_device")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session")),
    )
    for column in ("principal_id", "device_id"):
        op.create_index(
            f"ix_session_{column}",
            "session",
            [column],
            unique=False,
            postgresql_where=sa.text("revoked_at IS NULL"),
        )


def _create_used_proof() -> None:
    op.create_table(
        "used_proof",
        sa.Column("jti_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(jti_hash) = 32", name=op.f("ck_used_proof_hashed")),
        sa.PrimaryKeyConstraint("jti_hash", name=op.f("pk_used_proof")),
        comment="Proofs of requests that changed something; each write sweeps two that are over.",
    )
    op.create_index("ix_used_proof_expires_at", "used_proof", ["expires_at"], unique=False)


def _create_step_up() -> None:
    op.create_table(
        "step_up",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("principal_id", sa.UUID(), nullable=False),
        sa.Column("device_id", sa.UUID(), nullable=True, comment="NULL: any of the principal's"),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column(
            "op_hash",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the canonical operation",
        ),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column(
            "summary",
            postgresql.JSONB(),
            nullable=False,
            comment="what the phone shows; made by the server",
        ),
        sa.Column(
            "required",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            comment="levels, any of which will do",
        ),
        sa.Column("max_age_s", sa.Integer(), nullable=False),
        sa.Column(
            "number_match",
            sa.Text(),
            nullable=True,
            comment="what the one who was pushed must read elsewhere",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failures", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("passed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("passed_acr", sa.Text(), nullable=True),
        sa.Column(
            "classes",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="the factor classes that were shown",
        ),
        sa.Column("consumed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("consumed_by", sa.UUID(), nullable=True, comment="what the money moved for"),
        *_checks_of_step_up(),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_step_up_device_id_device")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step_up")),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "ix_step_up_principal_id_created_at",
        "step_up",
        ["principal_id", "created_at"],
        unique=False,
    )


def _checks_of_step_up() -> list[sa.CheckConstraint]:
    conditions = {
        "op_hash": "octet_length(op_hash) = 32",
        "nonce": "octet_length(nonce) = 32",
        "required": "cardinality(required) > 0 AND max_age_s > 0",
        "number_match": "number_match ~ '^[0-9]{2}$'",
        "failures": "failures BETWEEN 0 AND 5",
        "passed_says_how": "(passed_at IS NULL) = (passed_acr IS NULL)"
        " AND (passed_at IS NULL) = (classes IS NULL)",
        "consumed_says_by_what": "(consumed_at IS NULL) = (consumed_by IS NULL)",
        "consumed_once_passed": "consumed_at IS NULL OR passed_at IS NOT NULL",
    }
    return [
        sa.CheckConstraint(condition, name=op.f(f"ck_step_up_{name}"))
        for name, condition in conditions.items()
    ]


def _grant() -> None:
    """Keys, owners and challenges never change; what becomes of them is all that may."""
    op.execute("GRANT SELECT, INSERT ON device, session, step_up TO wallet_app")
    op.execute("GRANT SELECT, INSERT, DELETE ON used_proof TO wallet_app")
    # Nothing updates it; locking the rows that are to be swept asks for the right to.
    op.execute("GRANT UPDATE (expires_at) ON used_proof TO wallet_app")
    op.execute(
        "GRANT UPDATE (verified_key, name, app_version, cooling_until, revoked_at)"
        " ON device TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (generation, rotated_at, authenticated, revoked_at, revoked_because)"
        " ON session TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (failures, expires_at, passed_at, passed_acr, classes, consumed_at,"
        " consumed_by) ON step_up TO wallet_app"
    )
