"""Voucher campaigns: what was announced, who has applied, what was drawn, and what is offered."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wallet.core.database import metadata

# No table here has room for a name, an address or a birthday: of each a keyed hash, or the year.
campaign = Table(
    "campaign",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("code", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("suspended_at", DateTime(timezone=True), comment="NULL: goes on; an overlay"),
    Column("terms", JSONB, nullable=False),
    Column("revision", Integer, nullable=False, comment="of the terms; fixed once published"),
    Column("approved_revision", Integer, comment="what two people have agreed to"),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("code"),
    CheckConstraint(
        "state IN ('draft', 'merchant_recruiting', 'published', 'applying', 'closed', 'checking',"
        " 'drawn', 'notified', 'purchasing', 'lapsed_units', 'second_round', 'in_use',"
        " 'use_ended', 'clearing', 'final_clearing', 'unused_written_off', 'reported', 'archived')",
        name="state",
    ),
    CheckConstraint("revision > 0 AND approved_revision BETWEEN 1 AND revision", name="revisions"),
)

campaign_event = Table(
    "campaign_event",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("campaign_id", UUID, ForeignKey("campaign.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("from_state", Text),
    Column("to_state", Text),
    Column("actor", Text, nullable=False, comment="a public id, or `clock`"),
    Column("reason", Text),
    Column("public_text", Text, nullable=False, comment="Japanese; what anybody may read"),
    Column("scheduled_at", DateTime(timezone=True), comment="when it was planned for"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("ix_campaign_event_campaign_id", "campaign_id", "seq"),
    CheckConstraint("(kind = 'moved') = (to_state IS NOT NULL)", name="moves"),
    CheckConstraint("(from_state IS NULL) = (to_state IS NULL)", name="from_somewhere"),
    CheckConstraint("length(public_text) > 0", name="public_text"),
    comment="Append-only: the story of each campaign.",
)

resident_profile = Table(
    "resident_profile",
    metadata,
    Column("person_id", UUID, ForeignKey("person.id"), primary_key=True),
    Column("birth_year", SmallInteger),
    Column("area_code", Text, comment="of a district of the city, for eligibility and numbers"),
    Column("household_key", LargeBinary, comment="keyed hash; the same for a whole household"),
    Column("children", SmallInteger, comment="minors in the household"),
    Column("soft_key", LargeBinary, comment="keyed hash of name, birth date and address"),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("birth_year BETWEEN 1880 AND 2200", name="birth_year"),
    CheckConstraint("area_code ~ '^[0-9A-Za-z-]{1,16}$'", name="area_code"),
    CheckConstraint("children BETWEEN 0 AND 20", name="children"),
    CheckConstraint(
        "octet_length(household_key) = 32 AND octet_length(soft_key) = 32", name="hashes"
    ),
)

eligible_person = Table(
    "eligible_person",
    metadata,
    Column("list_code", Text, primary_key=True),
    Column("person_id", UUID, ForeignKey("person.id"), primary_key=True),
    Column("added_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("list_code ~ '^[a-z0-9-]{1,64}$'", name="list_code"),
    comment="Who is on a list that a programme's eligibility names.",
)

application = Table(
    "application",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("campaign_id", UUID, ForeignKey("campaign.id"), nullable=False),
    Column("frame", Text, nullable=False, comment="the code of the frame's programme"),
    Column(
        "applicant_key",
        LargeBinary,
        nullable=False,
        comment="keyed, of this campaign only: it tells nobody apart anywhere else",
    ),
    Column("soft_key", LargeBinary, comment="keyed hash of name, birth date and address"),
    Column("person_id", UUID, ForeignKey("person.id"), comment="NULL: known by a paper only"),
    Column("wallet_id", UUID, ForeignKey("wallet.id"), comment="where the vouchers shall go"),
    Column("channel", Text, nullable=False),
    Column("units_asked", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, comment="a code: why it was rejected, or what somebody is to look at"),
    Column("made_by", Text, nullable=False, comment="the public id of whoever sent it in"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("decided_at", DateTime(timezone=True), comment="of the state it has now"),
    Index(
        "uq_application_campaign_id_frame_applicant_key",
        "campaign_id",
        "frame",
        "applicant_key",
        unique=True,
        postgresql_where=text("state <> 'withdrawn'"),
    ),
    Index("ix_application_campaign_id", "campaign_id", "id"),
    Index("ix_application_campaign_id_state", "campaign_id", "state", "id"),
    Index(
        "ix_application_campaign_id_soft_key",
        "campaign_id",
        "soft_key",
        postgresql_where=text("soft_key IS NOT NULL"),
    ),
    Index("ix_application_person_id", "person_id"),
    Index("ix_application_wallet_id", "wallet_id"),
    CheckConstraint("channel IN ('app', 'paper', 'counter')", name="channel"),
    CheckConstraint("channel <> 'app' OR wallet_id IS NOT NULL", name="app_has_a_wallet"),
    CheckConstraint("units_asked > 0", name="units_asked"),
    CheckConstraint(
        "state IN ('submitted', 'accepted', 'rejected', 'won', 'lost', 'withdrawn')", name="state"
    ),
    CheckConstraint(
        "CASE state WHEN 'rejected' THEN reason IS NOT NULL WHEN 'submitted' THEN true"
        " ELSE reason IS NULL END",
        name="rejected_says_why",
    ),
    CheckConstraint(
        "octet_length(applicant_key) = 32 AND octet_length(soft_key) = 32", name="hashes"
    ),
)

draw = Table(
    "draw",
    metadata,
    Column("id", UUID, primary_key=True, comment="also the salt of its list's hashes"),
    Column("campaign_id", UUID, ForeignKey("campaign.id"), nullable=False),
    Column("round", SmallInteger, nullable=False),
    Column("commitment", LargeBinary, nullable=False, comment="SHA-256 of the seed"),
    Column("seed_sealed", LargeBinary, nullable=False),
    Column("public_value_named", Text, nullable=False, comment="which value it will be"),
    Column(
        "public_value_at", DateTime(timezone=True), nullable=False, comment="nobody knows it before"
    ),
    Column("committed_at", DateTime(timezone=True), nullable=False),
    Column("list_asked_at", DateTime(timezone=True), comment="since then nobody joins or leaves"),
    Column("list_hash", LargeBinary, comment="SHA-256 of the list of entries"),
    Column("listed_at", DateTime(timezone=True)),
    Column("units", JSONB, comment="by frame, how many are drawn; fixed with the list"),
    Column("public_value", Text),
    Column("seed", LargeBinary, comment="revealed with the public value, not before"),
    Column("revealed_at", DateTime(timezone=True)),
    Column("result_hash", LargeBinary, comment="SHA-256 of the list of results"),
    Column("drawn_at", DateTime(timezone=True)),
    Column("offers_until", DateTime(timezone=True), comment="winners are told since it stands"),
    UniqueConstraint("campaign_id", "round"),
    CheckConstraint("round BETWEEN 1 AND 2", name="round"),
    CheckConstraint(
        "octet_length(commitment) = 32 AND octet_length(list_hash) = 32"
        " AND octet_length(seed) = 32 AND octet_length(result_hash) = 32",
        name="hashes",
    ),
    CheckConstraint("seed IS NULL OR sha256(seed) = commitment", name="seed_as_committed"),
    CheckConstraint("listed_at < public_value_at", name="listed_before_the_value"),
    CheckConstraint("revealed_at >= public_value_at", name="revealed_after_the_value"),
    CheckConstraint(
        "(list_hash IS NULL) = (listed_at IS NULL) AND (units IS NULL) = (listed_at IS NULL)"
        " AND (seed IS NULL) = (revealed_at IS NULL)"
        " AND (public_value IS NULL) = (revealed_at IS NULL)"
        " AND (result_hash IS NULL) = (drawn_at IS NULL)",
        name="steps_are_whole",
    ),
    CheckConstraint(
        "(listed_at IS NULL OR list_asked_at IS NOT NULL)"
        " AND (revealed_at IS NULL OR listed_at IS NOT NULL)"
        " AND (drawn_at IS NULL OR revealed_at IS NOT NULL)"
        " AND (offers_until IS NULL OR drawn_at IS NOT NULL)",
        name="steps_in_order",
    ),
)

draw_entry = Table(
    "draw_entry",
    metadata,
    Column("draw_id", UUID, ForeignKey("draw.id"), primary_key=True),
    Column("application_id", UUID, ForeignKey("application.id"), primary_key=True),
    Column("frame", Text, nullable=False),
    Column("units_asked", Integer, nullable=False),
    Column("units_won", Integer, comment="NULL: not drawn yet"),
    Column("told_at", DateTime(timezone=True), comment="before, its outcome is nobody's"),
    Index(
        "ix_draw_entry_untold",
        "draw_id",
        "application_id",
        postgresql_where=text("told_at IS NULL"),
    ),
    CheckConstraint("units_asked > 0", name="units_asked"),
    CheckConstraint("units_won BETWEEN 0 AND units_asked", name="units_won"),
    comment="Who takes part in a draw with how many units, and what came of it.",
)

win = Table(
    "win",
    metadata,
    Column("application_id", UUID, ForeignKey("application.id"), primary_key=True),
    Column("round", SmallInteger, primary_key=True),
    Column("campaign_id", UUID, ForeignKey("campaign.id"), nullable=False),
    Column("frame", Text, nullable=False, comment="the code of the frame's programme"),
    Column("units", Integer, nullable=False),
    Column("units_bought", Integer, nullable=False, server_default="0"),
    Column("state", Text, nullable=False),
    Column("deadline", DateTime(timezone=True), nullable=False, comment="bought before, or lapsed"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index(
        "ix_win_deadline",
        "deadline",
        "application_id",
        postgresql_where=text("state = 'offered'"),
    ),
    Index("ix_win_campaign_id", "campaign_id", "frame", "state"),
    CheckConstraint("round BETWEEN 1 AND 2", name="round"),
    CheckConstraint("state IN ('offered', 'bought', 'lapsed')", name="state"),
    CheckConstraint("units > 0 AND units_bought BETWEEN 0 AND units", name="units"),
    comment="Units that somebody may buy until the deadline.",
)
