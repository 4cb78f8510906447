"""Factors: PIN, TOTP, passkeys, passwords, recovery codes, attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_pin()
    _create_totp()
    _create_passkey()
    _create_password()
    _create_recovery_code()
    _create_attempt()
    _grant()


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("attempt")
    op.drop_table("recovery_code")
    op.drop_table("password")
    op.drop_table("passkey")
    op.drop_table("totp")
    op.drop_table("pin")


def _create_pin() -> None:
    op.create_table(
        "pin",
        sa.Column("device_id", sa.UUID(), nullable=False),
        sa.Column(
            "mac",
            sa.LargeBinary(),
            nullable=False,
            comment="keyed; of the device, its key and the PIN",
        ),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(mac) = 32", name=op.f("ck_pin_mac")),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_pin_device_id_device")),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_pin")),
    )


def _create_totp() -> None:
    op.create_table(
        "totp",
        sa.Column("principal_id", sa.UUID(), nullable=False),
        sa.Column(
            "secret_sealed",
            sa.LargeBinary(),
            nullable=True,
            comment="NULL until a first code has confirmed it",
        ),
        sa.Column(
            "last_step",
            sa.BigInteger(),
            nullable=False,
            comment="no code up to this step is taken",
        ),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "pending_sealed",
            sa.LargeBinary(),
            nullable=True,
            comment="shown, and waiting for its first code",
        ),
        sa.Column("pending_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(secret_sealed IS NULL) = (confirmed_at IS NULL)",
            name=op.f("ck_totp_confirmed_with_a_secret"),
        ),
        sa.CheckConstraint(
            "(pending_sealed IS NULL) = (pending_until IS NULL)",
            name=op.f("ck_totp_pending_for_a_while"),
        ),
        sa.CheckConstraint("last_step >= -1", name=op.f("ck_totp_last_step")),
        sa.PrimaryKeyConstraint("principal_id", name=op.f("pk_totp")),
    )


def _create_passkey() -> None:
    op.create_table(
        "passkey",
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("principal_id", sa.UUID(), nullable=False),
        sa.Column(
            "public_key",
            sa.LargeBinary(),
            nullable=False,
            comment="COSE key, as it was registered",
        ),
        sa.Column(
            "sign_count",
            sa.BigInteger(),
            nullable=False,
            comment="0: the authenticator counts nothing",
        ),
        sa.Column(
            "backed_up", sa.Boolean(), nullable=False, comment="its maker keeps copies of it"
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "octet_length(credential_id) BETWEEN 16 AND 1023",
            name=op.f("ck_passkey_credential_id"),
        ),
        sa.CheckConstraint("sign_count >= 0", name=op.f("ck_passkey_sign_count")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 64", name=op.f("ck_passkey_name")),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("pk_passkey")),
    )
    op.create_index("ix_passkey_principal_id", "passkey", ["principal_id"], unique=False)


def _create_password() -> None:
    op.create_table(
        "password",
        sa.Column("principal_id", sa.UUID(), nullable=False),
        sa.Column(
            "hash", sa.Text(), nullable=False, comment="argon2id with its salt and parameters"
        ),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("hash LIKE '$argon2id$%'", name=op.f("ck_password_argon2id")),
        sa.PrimaryKeyConstraint("principal_id", name=op.f("pk_password")),
    )


def _create_recovery_code() -> None:
    op.create_table(
        "recovery_code",
        sa.Column("principal_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("number BETWEEN 1 AND 10", name=op.f("ck_recovery_code_number")),
        sa.CheckConstraint("octet_length(code_hash) = 32", name=op.f("ck_recovery_code_code_hash")),
        sa.PrimaryKeyConstraint("principal_id", "number", name=op.f("pk_recovery_code")),
        comment="Numbered, so that a new sheet takes the place of the old one row by row.",
    )


def _create_attempt() -> None:
    op.create_table(
        "attempt",
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="of secret: password, pin, otp and so on"
        ),
        sa.Column("subject", sa.LargeBinary(), nullable=False, comment="keyed hash of who or what"),
        sa.Column(
            "window_start", sa.DateTime(timezone=True), nullable=False, comment="first failure"
        ),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("closed_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "forget_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="then the row says nothing",
        ),
        sa.CheckConstraint("octet_length(subject) = 16", name=op.f("ck_attempt_subject")),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_attempt_failures")),
        sa.PrimaryKeyConstraint("kind", "subject", name=op.f("pk_attempt")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index("ix_attempt_forget_at", "attempt", ["forget_at"], unique=False)


def _grant() -> None:
    op.execute(
        "GRANT SELECT, INSERT ON pin, totp, passkey, password, recovery_code, attempt TO wallet_app"
    )
    op.execute("GRANT UPDATE (mac, set_at) ON pin TO wallet_app")
    op.execute(
        "GRANT UPDATE (secret_sealed, last_step, confirmed_at, pending_sealed, pending_until)"
        " ON totp TO wallet_app"
    )
    op.execute("GRANT UPDATE (sign_count, backed_up, name, revoked_at) ON passkey TO wallet_app")
    op.execute("GRANT UPDATE (hash, set_at) ON password TO wallet_app")
    op.execute("GRANT UPDATE (code_hash, issued_at, used_at) ON recovery_code TO wallet_app")
    op.execute(
        "GRANT UPDATE (window_start, failures, closed_until, forget_at), DELETE"
        " ON attempt TO wallet_app"
    )
