"""Campaigns, applications and draws."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_campaign()
    _create_campaign_event()
    _create_resident_profile()
    _create_eligible_person()
    _create_application()
    _create_draw()
    _create_draw_entry()
    _create_win()
    _grant()


def downgrade() -> None:
    """Remove them."""
    op.drop_table("win")
    op.drop_table("draw_entry")
    op.drop_table("draw")
    op.drop_table("application")
    op.drop_table("eligible_person")
    op.drop_table("resident_profile")
    op.drop_table("campaign_event")
    op.drop_table("campaign")


def _create_campaign() -> None:
    op.create_table(
        "campaign",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "suspended_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="NULL: goes on; an overlay",
        ),
        sa.Column("terms", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "revision", sa.Integer(), nullable=False, comment="of the terms; fixed once published"
        ),
        sa.Column(
            "approved_revision",
            sa.Integer(),
            nullable=True,
            comment="what two people have agreed to",
        ),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('draft', 'merchant_recruiting', 'published', 'applying', 'closed',"
            " 'checking', 'drawn', 'notified', 'purchasing', 'lapsed_units',"
            " 'second_round', 'in_use', 'use_ended', 'clearing', 'final_clearing',"
            " 'unused_written_off', 'reported', 'archived')",
            name=op.f("ck_campaign_state"),
        ),
        sa.CheckConstraint(
            "revision > 0 AND approved_revision BETWEEN 1 AND revision",
            name=op.f("ck_campaign_revisions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("code", name=op.f("uq_campaign_code")),
    )


def _create_campaign_event() -> None:
    op.create_table(
        "campaign_event",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("campaign_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=True),
        sa.Column("to_state", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False, comment="a public id, or `clock`"),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "public_text", sa.Text(), nullable=False, comment="Japanese; what anybody may read"
        ),
        sa.Column(
            "scheduled_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when it was planned for",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(kind = 'moved') = (to_state IS NOT NULL)", name=op.f("ck_campaign_event_moves")
        ),
        sa.CheckConstraint(
            "(from_state IS NULL) = (to_state IS NULL)",
            name=op.f("ck_campaign_event_from_somewhere"),
        ),
        sa.CheckConstraint("length(public_text) > 0", name=op.f("ck_campaign_event_public_text")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_campaign_event_campaign_id_campaign")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_campaign_event")),
        comment="Append-only: the story of each campaign.",
    )
    op.create_index(
        "ix_campaign_event_campaign_id", "campaign_event", ["campaign_id", "seq"], unique=False
    )


def _create_resident_profile() -> None:
    op.create_table(
        "resident_profile",
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("birth_year", sa.SmallInteger(), nullable=True),
        sa.Column(
            "area_code",
            sa.Text(),
            nullable=True,
            comment="of a district of the city, for eligibility and numbers",
        ),
        sa.Column(
            "household_key",
            sa.LargeBinary(),
            nullable=True,
            comment="keyed hash; the same for a whole household",
        ),
        sa.Column("children", sa.SmallInteger(), nullable=True, comment="minors in the household"),
        sa.Column(
            "soft_key",
            sa.LargeBinary(),
            nullable=True,
            comment="keyed hash of name, birth date and address",
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "area_code ~ '^[0-9A-Za-z-]{1,16}$'", name=op.f("ck_resident_profile_area_code")
        ),
        sa.CheckConstraint(
            "birth_year BETWEEN 1880 AND 2200", name=op.f("ck_resident_profile_birth_year")
        ),
        sa.CheckConstraint("children BETWEEN 0 AND 20", name=op.f("ck_resident_profile_children")),
        sa.CheckConstraint(
            "octet_length(household_key) = 32 AND octet_length(soft_key) = 32",
            name=op.f("ck_resident_profile_hashes"),
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_resident_profile_person_id_person")
        ),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_resident_profile")),
    )


def _create_eligible_person() -> None:
    op.create_table(
        "eligible_person",
        sa.Column("list_code", sa.Text(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "list_code ~ '^[a-z0-9-]{1,64}$'", name=op.f("ck_eligible_person_list_code")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_eligible_person_person_id_person")
        ),
        sa.PrimaryKeyConstraint("list_code", "person_id", name=op.f("pk_eligible_person")),
        comment="Who is on a list that a programme's eligibility names.",
    )


def _create_application() -> None:
    op.create_table(
        "application",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("campaign_id", sa.UUID(), nullable=False),
        sa.Column("frame", sa.Text(), nullable=False, comment="the code of the frame's programme"),
        sa.Column(
            "applicant_key",
            sa.LargeBinary(),
            nullable=False,
            comment="keyed, of this campaign only: it tells nobody apart anywhere else",
        ),
        sa.Column(
            "soft_key",
            sa.LargeBinary(),
            nullable=True,
            comment="keyed hash of name, birth date and address",
        ),
        sa.Column("person_id", sa.UUID(), nullable=True, comment="NULL: known by a paper only"),
        sa.Column("wallet_id", sa.UUID(), nullable=True, comment="where the vouchers shall go"),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("units_asked", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=True,
            comment="a code: why it was rejected, or what somebody is to look at",
        ),
        sa.Column(
            "made_by", sa.Text(), nullable=False, comment="the public id of whoever sent it in"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "decided_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="of the state it has now",
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_application_campaign_id_campaign")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_application_person_id_person")
        ),
        sa.ForeignKeyConstraint(
            ["wallet_id"], ["wallet.id"], name=op.f("fk_application_wallet_id_wallet")
        ),
        *_checks_of_application(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application")),
    )
    _index_application()


def _checks_of_application() -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(
            "CASE state WHEN 'rejected' THEN reason IS NOT NULL WHEN 'submitted' THEN true"
            " ELSE reason IS NULL END",
            name=op.f("ck_application_rejected_says_why"),
        ),
        sa.CheckConstraint(
            "channel <> 'app' OR wallet_id IS NOT NULL",
            name=op.f("ck_application_app_has_a_wallet"),
        ),
        sa.CheckConstraint(
            "channel IN ('app', 'paper', 'counter')", name=op.f("ck_application_channel")
        ),
        sa.CheckConstraint(
            "state IN ('submitted', 'accepted', 'rejected', 'won', 'lost', 'withdrawn')",
            name=op.f("ck_application_state"),
        ),
        sa.CheckConstraint(
            "octet_length(applicant_key) = 32 AND octet_length(soft_key) = 32",
            name=op.f("ck_application_hashes"),
        ),
        sa.CheckConstraint("units_asked > 0", name=op.f("ck_application_units_asked")),
    ]


def _index_application() -> None:
    op.create_index(
        "ix_application_campaign_id", "application", ["campaign_id", "id"], unique=False
    )
    op.create_index(
        "ix_application_campaign_id_soft_key",
        "application",
        ["campaign_id", "soft_key"],
        unique=False,
        postgresql_where=sa.text("soft_key IS NOT NULL"),
    )
    op.create_index(
        "ix_application_campaign_id_state",
        "application",
        ["campaign_id", "state", "id"],
        unique=False,
    )
    op.create_index("ix_application_person_id", "application", ["person_id"], unique=False)
    op.create_index("ix_application_wallet_id", "application", ["wallet_id"], unique=False)
    op.create_index(
        "uq_application_campaign_id_frame_applicant_key",
        "application",
        ["campaign_id", "frame", "applicant_key"],
        unique=True,
        postgresql_where=sa.text("state <> 'withdrawn'"),
    )


def _create_draw() -> None:
    op.create_table(
        "draw",
        sa.Column("id", sa.UUID(), nullable=False, comment="also the salt of its list's hashes"),
        sa.Column("campaign_id", sa.UUID(), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("commitment", sa.LargeBinary(), nullable=False, comment="SHA-256 of the seed"),
        sa.Column("seed_sealed", sa.LargeBinary(), nullable=False),
        sa.Column(
            "public_value_named", sa.Text(), nullable=False, comment="which value it will be"
        ),
        sa.Column(
            "public_value_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="nobody knows it before",
        ),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "list_asked_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="since then nobody joins or leaves",
        ),
        sa.Column(
            "list_hash", sa.LargeBinary(), nullable=True, comment="SHA-256 of the list of entries"
        ),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "units",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="by frame, how many are drawn; fixed with the list",
        ),
        sa.Column("public_value", sa.Text(), nullable=True),
        sa.Column(
            "seed",
            sa.LargeBinary(),
            nullable=True,
            comment="revealed with the public value, not before",
        ),
        sa.Column("revealed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "result_hash", sa.LargeBinary(), nullable=True, comment="SHA-256 of the list of results"
        ),
        sa.Column("drawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "offers_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="winners are told since it stands",
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_draw_campaign_id_campaign")
        ),
        *_checks_of_draw(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draw")),
        sa.UniqueConstraint("campaign_id", "round", name=op.f("uq_draw_campaign_id_round")),
    )


def _checks_of_draw() -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(
            "(list_hash IS NULL) = (listed_at IS NULL) AND (units IS NULL) = (listed_at IS"
            " NULL) AND (seed IS NULL) = (revealed_at IS NULL) AND (public_value IS NULL) ="
            " (revealed_at IS NULL) AND (result_hash IS NULL) = (drawn_at IS NULL)",
            name=op.f("ck_draw_steps_are_whole"),
        ),
        sa.CheckConstraint(
            "(listed_at IS NULL OR list_asked_at IS NOT NULL) AND (revealed_at IS NULL OR"
            " listed_at IS NOT NULL) AND (drawn_at IS NULL OR revealed_at IS NOT NULL) AND"
            " (offers_until IS NULL OR drawn_at IS NOT NULL)",
            name=op.f("ck_draw_steps_in_order"),
        ),
        sa.CheckConstraint(
            "listed_at < public_value_at", name=op.f("ck_draw_listed_before_the_value")
        ),
        sa.CheckConstraint(
            "octet_length(commitment) = 32 AND octet_length(list_hash) = 32 AND"
            " octet_length(seed) = 32 AND octet_length(result_hash) = 32",
            name=op.f("ck_draw_hashes"),
        ),
        sa.CheckConstraint(
            "revealed_at >= public_value_at", name=op.f("ck_draw_revealed_after_the_value")
        ),
        sa.CheckConstraint("round BETWEEN 1 AND 2", name=op.f("ck_draw_round")),
        sa.CheckConstraint(
            "seed IS NULL OR sha256(seed) = commitment", name=op.f("ck_draw_seed_as_committed")
        ),
    ]


def _create_draw_entry() -> None:
    op.create_table(
        "draw_entry",
        sa.Column("draw_id", sa.UUID(), nullable=False),
        sa.Column("application_id", sa.UUID(), nullable=False),
        sa.Column("frame", sa.Text(), nullable=False),
        sa.Column("units_asked", sa.Integer(), nullable=False),
        sa.Column("units_won", sa.Integer(), nullable=True, comment="NULL: not drawn yet"),
        sa.Column(
            "told_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="before, its outcome is nobody's",
        ),
        sa.CheckConstraint("units_asked > 0", name=op.f("ck_draw_entry_units_asked")),
        sa.CheckConstraint(
            "units_won BETWEEN 0 AND units_asked", name=op.f("ck_draw_entry_units_won")
        ),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["application.id"],
            name=op.f("fk_draw_entry_application_id_application"),
        ),
        sa.ForeignKeyConstraint(["draw_id"], ["draw.id"], name=op.f("fk_draw_entry_draw_id_draw")),
        sa.PrimaryKeyConstraint("draw_id", "application_id", name=op.f("pk_draw_entry")),
        comment="Who takes part in a draw with how many units, and what came of it.",
    )
    op.create_index(
        "ix_draw_entry_untold",
        "draw_entry",
        ["draw_id", "application_id"],
        unique=False,
        postgresql_where=sa.text("told_at IS NULL"),
    )


def _create_win() -> None:
    op.create_table(
        "win",
        sa.Column("application_id", sa.UUID(), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("campaign_id", sa.UUID(), nullable=False),
        sa.Column("frame", sa.Text(), nullable=False, comment="the code of the frame's programme"),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("units_bought", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "deadline",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="bought before, or lapsed",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('offered', 'bought', 'lapsed')", name=op.f("ck_win_state")),
        sa.CheckConstraint("round BETWEEN 1 AND 2", name=op.f("ck_win_round")),
        sa.CheckConstraint(
            "units > 0 AND units_bought BETWEEN 0 AND units", name=op.f("ck_win_units")
        ),
        sa.ForeignKeyConstraint(
            ["application_id"], ["application.id"], name=op.f("fk_win_application_id_application")
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_win_campaign_id_campaign")
        ),
        sa.PrimaryKeyConstraint("application_id", "round", name=op.f("pk_win")),
        comment="Units that somebody may buy until the deadline.",
    )
    op.create_index("ix_win_campaign_id", "win", ["campaign_id", "frame", "state"], unique=False)
    op.create_index(
        "ix_win_deadline",
        "win",
        ["deadline", "application_id"],
        unique=False,
        postgresql_where=sa.text("state = 'offered'"),
    )


def _grant() -> None:
    """An application keeps what was asked for: only what has become of it changes."""
    op.execute("CALL make_immutable('campaign_event')")
    op.execute(
        "GRANT SELECT, INSERT ON campaign, campaign_event, resident_profile, eligible_person,"
        " application, draw, draw_entry, win TO wallet_app"
    )
    for table, columns in {
        "campaign": "state, suspended_at, terms, revision, approved_revision",
        "resident_profile": "birth_year, area_code, household_key, children, soft_key, updated_at",
        "application": "wallet_id, state, reason, decided_at",
        "draw": "public_value_named, public_value_at, list_asked_at, list_hash, listed_at, units,"
        " public_value, seed, revealed_at, result_hash, drawn_at, offers_until",
        "draw_entry": "units_won, told_at",
        "win": "state, units_bought, deadline",
    }.items():
        op.execute(f"GRANT UPDATE ({columns}) ON {table} TO wallet_app")
    op.execute("GRANT DELETE ON resident_profile, eligible_person TO wallet_app")
