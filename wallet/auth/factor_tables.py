"""What the factors are checked against, and how often somebody has guessed."""

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
)
from sqlalchemy.dialects.postgresql import UUID

from wallet.core.database import metadata
from wallet.core.my_number import refused_in

pin = Table(
    "pin",
    metadata,
    Column("device_id", UUID, ForeignKey("device.id"), primary_key=True),
    Column("mac", LargeBinary, nullable=False, comment="keyed; of the device, its key and the PIN"),
    Column("set_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("octet_length(mac) = 32", name="mac"),
)

totp = Table(
    "totp",
    metadata,
    Column("principal_id", UUID, primary_key=True),
    Column("secret_sealed", LargeBinary, comment="NULL until a first code has confirmed it"),
    Column("last_step", BigInteger, nullable=False, comment="no code up to this step is taken"),
    Column("confirmed_at", DateTime(timezone=True)),
    Column("pending_sealed", LargeBinary, comment="shown, and waiting for its first code"),
    Column("pending_until", DateTime(timezone=True)),
    CheckConstraint(
        "(secret_sealed IS NULL) = (confirmed_at IS NULL)", name="confirmed_with_a_secret"
    ),
    CheckConstraint(
        "(pending_sealed IS NULL) = (pending_until IS NULL)", name="pending_for_a_while"
    ),
    CheckConstraint("last_step >= -1", name="last_step"),
)

passkey = Table(
    "passkey",
    metadata,
    Column("credential_id", LargeBinary, primary_key=True),
    Column("principal_id", UUID, nullable=False),
    Column("public_key", LargeBinary, nullable=False, comment="COSE key, as it was registered"),
    Column("sign_count", BigInteger, nullable=False, comment="0: the authenticator counts nothing"),
    Column("backed_up", Boolean, nullable=False, comment="its maker keeps copies of it"),
    Column("name", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Index("ix_passkey_principal_id", "principal_id"),
    # 1,023 is the most that WebAuthn allows.
    CheckConstraint("octet_length(credential_id) BETWEEN 16 AND 1023", name="credential_id"),
    CheckConstraint("sign_count >= 0", name="sign_count"),
    CheckConstraint("length(name) BETWEEN 1 AND 64", name="name"),
    CheckConstraint(refused_in("name"), name="no_my_number"),
)

password = Table(
    "password",
    metadata,
    Column("principal_id", UUID, primary_key=True),
    Column("hash", Text, nullable=False, comment="argon2id with its salt and parameters"),
    Column("set_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("hash LIKE '$argon2id$%'", name="argon2id"),
)

recovery_code = Table(
    "recovery_code",
    metadata,
    Column("principal_id", UUID, primary_key=True),
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("code_hash", LargeBinary, nullable=False),
    Column("issued_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    CheckConstraint("number BETWEEN 1 AND 10", name="number"),
    CheckConstraint("octet_length(code_hash) = 32", name="code_hash"),
    comment="Numbered, so that a new sheet takes the place of the old one row by row.",
)

attempt = Table(
    "attempt",
    metadata,
    Column("kind", Text, primary_key=True, comment="of secret: password, pin, otp and so on"),
    Column("subject", LargeBinary, primary_key=True, comment="keyed hash of who or what"),
    Column("window_start", DateTime(timezone=True), nullable=False, comment="first failure"),
    Column("failures", Integer, nullable=False),
    Column("closed_until", DateTime(timezone=True), nullable=False),
    Column(
        "forget_at", DateTime(timezone=True), nullable=False, comment="then the row says nothing"
    ),
    Index("ix_attempt_forget_at", "forget_at"),
    CheckConstraint("octet_length(subject) = 16", name="subject"),
    CheckConstraint("failures >= 0", name="failures"),
    postgresql_with={"fillfactor": 50},
)
