"""People and who stands by them; wallets, purses, cards, and the row a day's spending is in."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from wallet.core.database import metadata

# No table here has room for a name, an address, a birthday or a number of the state's.
person = Table(
    "person",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("tier", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("frozen_because", Text),
    Column("subject_hash", LargeBinary, comment="keyed; who the identity app says this is"),
    Column("resident", Boolean, comment="lives in this city, as the identity app said once"),
    Column("support_code", Text, nullable=False, comment="names the person to the help desk"),
    Column("cooling_until", DateTime(timezone=True), comment="sign-in was changed a while ago"),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("subject_hash"),
    UniqueConstraint("support_code"),
    CheckConstraint("tier IN ('T0', 'T1', 'T2', 'T3')", name="tier"),
    CheckConstraint("tier <> 'T2' OR subject_hash IS NOT NULL", name="proven_by_the_app"),
    CheckConstraint("state IN ('active', 'frozen', 'closed')", name="state"),
    CheckConstraint("frozen_because IN ('own', 'support', 'counter')", name="frozen_because"),
    CheckConstraint("(state = 'frozen') = (frozen_because IS NOT NULL)", name="frozen_says_why"),
    CheckConstraint("octet_length(subject_hash) = 32", name="subject_hash"),
    CheckConstraint("support_code ~ '^[2-9A-HJ-NP-Z]{8}$'", name="support_code"),
)

contact = Table(
    "contact",
    metadata,
    Column("person_id", UUID, ForeignKey("person.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("value_sealed", LargeBinary, nullable=False),
    Column("value_hash", LargeBinary, nullable=False, comment="keyed, to find it again"),
    Column("verified_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("kind", "value_hash"),
    CheckConstraint("kind IN ('email', 'phone')", name="kind"),
    CheckConstraint("octet_length(value_hash) = 32", name="value_hash"),
)

contact_code = Table(
    "contact_code",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("person_id", UUID, ForeignKey("person.id"), comment="NULL: somebody new"),
    Column("kind", Text, nullable=False),
    Column("value_sealed", LargeBinary, nullable=False),
    Column("value_hash", LargeBinary, nullable=False),
    Column("thumbprint", LargeBinary, nullable=False, comment="of the device key that asked"),
    Column("code_mac", LargeBinary, nullable=False, comment="random where no code shall fit"),
    Column("failures", SmallInteger, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    Index("ix_contact_code_expires_at", "expires_at"),
    CheckConstraint("kind IN ('email', 'phone')", name="kind"),
    CheckConstraint(
        "octet_length(value_hash) = 32 AND octet_length(thumbprint) = 32"
        " AND octet_length(code_mac) = 32",
        name="hashes",
    ),
    CheckConstraint("failures BETWEEN 0 AND 5", name="failures"),
    CheckConstraint("expires_at <= created_at + interval '10 minutes'", name="short_lived"),
)

identity_flow = Table(
    "identity_flow",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("person_id", UUID, ForeignKey("person.id"), comment="NULL: whoever it will be"),
    Column("challenge_id", UUID, comment="the step-up it answers"),
    Column("thumbprint", LargeBinary, nullable=False, comment="of the device key that began it"),
    Column("state_hash", LargeBinary, nullable=False),
    Column("secrets_sealed", LargeBinary, nullable=False, comment="PKCE verifier and nonce"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    UniqueConstraint("state_hash"),
    Index("ix_identity_flow_expires_at", "expires_at"),
    CheckConstraint("purpose IN ('raise', 'recover', 'step_up')", name="purpose"),
    CheckConstraint("(purpose = 'recover') = (person_id IS NULL)", name="whose"),
    CheckConstraint("(purpose = 'step_up') = (challenge_id IS NOT NULL)", name="challenge"),
    CheckConstraint(
        "octet_length(thumbprint) = 32 AND octet_length(state_hash) = 32", name="hashes"
    ),
)

wallet = Table(
    "wallet",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("payment_limit_yen", BigInteger, nullable=False),
    Column("daily_limit_yen", BigInteger, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("person_id", UUID, ForeignKey("person.id"), comment="NULL: known by its cards only"),
    Column("tier", Text, nullable=False, server_default="T2", comment="its person's"),
    Column("coupon", Text, comment="programme:coupon that the next payment it fits shall use"),
    Index("ix_wallet_person_id", "person_id"),
    CheckConstraint("holder IN ('resident', 'visitor')", name="holder"),
    CheckConstraint("tier IN ('T0', 'T1', 'T2', 'T3')", name="tier"),
    CheckConstraint("state IN ('active', 'frozen', 'closed')", name="state"),
    CheckConstraint("payment_limit_yen >= 0 AND daily_limit_yen >= 0", name="limits"),
)

# The way for a further device, shown by an old one or printed at the counter.
device_invitation = Table(
    "device_invitation",
    metadata,
    Column("code_hash", LargeBinary, primary_key=True),
    Column("person_id", UUID, ForeignKey("person.id"), nullable=False),
    Column("invited_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    Index("ix_device_invitation_expires_at", "expires_at"),
    CheckConstraint("invited_by IN ('device', 'counter')", name="invited_by"),
    CheckConstraint("octet_length(code_hash) = 32", name="code_hash"),
)

guardianship = Table(
    "guardianship",
    metadata,
    Column("wallet_id", UUID, ForeignKey("wallet.id"), primary_key=True),
    Column("guardian_id", UUID, ForeignKey("person.id"), primary_key=True),
    Column("since", DateTime(timezone=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("until", DateTime(timezone=True)),
    Index(
        "uq_guardianship_wallet_id_guardian_id",
        "wallet_id",
        "guardian_id",
        unique=True,
        postgresql_where=text("until IS NULL"),
    ),
    Index("ix_guardianship_guardian_id", "guardian_id", postgresql_where=text("until IS NULL")),
    CheckConstraint("kind IN ('child', 'no_phone')", name="kind"),
    CheckConstraint("until >= since", name="ends_after_it_began"),
)

# An invitation until somebody accepts it.
helper = Table(
    "helper",
    metadata,
    Column("id", UUID, primary_key=True, comment="holder of its own day's spending"),
    Column("wallet_id", UUID, ForeignKey("wallet.id"), nullable=False),
    Column("helper_id", UUID, ForeignKey("person.id"), comment="NULL: not yet accepted"),
    Column("kind", Text, nullable=False),
    Column("payment_limit_yen", BigInteger, nullable=False),
    Column("daily_limit_yen", BigInteger, nullable=False),
    Column("code_hash", LargeBinary, nullable=False, comment="keyed; of the invitation"),
    Column("invited_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False, comment="of the invitation"),
    Column("accepted_at", DateTime(timezone=True)),
    Column("cooling_until", DateTime(timezone=True), comment="a proxy pays nothing before"),
    Column("revoked_at", DateTime(timezone=True)),
    UniqueConstraint("code_hash"),
    Index("ix_helper_wallet_id", "wallet_id", postgresql_where=text("revoked_at IS NULL")),
    Index(
        "uq_helper_helper_id_wallet_id",
        "helper_id",
        "wallet_id",
        unique=True,
        postgresql_where=text("revoked_at IS NULL"),
    ),
    CheckConstraint("kind IN ('view', 'proxy')", name="kind"),
    CheckConstraint(
        "CASE kind WHEN 'proxy' THEN payment_limit_yen > 0 AND daily_limit_yen > 0"
        " ELSE payment_limit_yen = 0 AND daily_limit_yen = 0 END",
        name="limits",
    ),
    CheckConstraint(
        "(helper_id IS NULL) = (accepted_at IS NULL)"
        " AND (helper_id IS NULL) = (cooling_until IS NULL)",
        name="accepted_by_somebody",
    ),
    CheckConstraint("octet_length(code_hash) = 32", name="code_hash"),
)

purse = Table(
    "purse",
    metadata,
    Column("account_id", UUID, ForeignKey("account.id"), primary_key=True),
    Column("wallet_id", UUID, ForeignKey("wallet.id"), nullable=False),
    Column("programme_id", UUID, ForeignKey("programme.id"), nullable=False),
    Column("funding", Text, nullable=False),
    Column("expires_on", Date, nullable=False, comment="last day it may be spent, in Japan"),
    Column(
        "ended_at",
        DateTime(timezone=True),
        comment="emptied for good: its last day was over, or another purse took its money",
    ),
    UniqueConstraint("wallet_id", "programme_id", "funding", "expires_on"),
    Index(
        "ix_purse_to_end",
        "expires_on",
        "account_id",
        postgresql_where=text("ended_at IS NULL"),
    ),
    CheckConstraint("funding IN ('paid', 'premium', 'free')", name="funding"),
)

card = Table(
    "card",
    metadata,
    Column("id", UUID, primary_key=True),
    Column(
        "printed_number",
        Text,
        nullable=False,
        comment="12 digits to read out; names the card and pays nothing",
    ),
    Column("number_hash", LargeBinary, nullable=False),
    Column("wallet_id", UUID, ForeignKey("wallet.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("payment_limit_yen", BigInteger, nullable=False),
    Column("daily_limit_yen", BigInteger, nullable=False),
    Column("issued_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("printed_number"),
    UniqueConstraint("number_hash"),
    Index("ix_card_wallet_id", "wallet_id"),
    CheckConstraint("printed_number ~ '^[0-9]{12}$'", name="printed_number"),
    CheckConstraint("state IN ('active', 'blocked', 'replaced')", name="state"),
    CheckConstraint("payment_limit_yen >= 0 AND daily_limit_yen >= 0", name="limits"),
)

# The holder is a wallet, a card or a proxy's helper row. Whoever moves money out of a wallet locks
# its row here first, so two payments of one wallet are never decided side by side, whatever purses
# they draw on.
spending = Table(
    "spending",
    metadata,
    Column("holder_id", UUID, primary_key=True),
    Column("spent_on", Date, nullable=False, comment="the day in Japan that spent_yen is of"),
    Column("spent_yen", BigInteger, nullable=False),
    CheckConstraint("spent_yen >= 0", name="not_negative"),
    postgresql_with={
        "fillfactor": 50,
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_threshold": 5000,
        "autovacuum_vacuum_cost_delay": 0,
    },
)
