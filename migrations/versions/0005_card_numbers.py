"""The number printed on a card."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the number; no card can have been issued before it, so it needs no default."""
    op.add_column(
        "card",
        sa.Column(
            "printed_number",
            sa.Text(),
            nullable=False,
            comment="12 digits to read out; names the card and pays nothing",
        ),
    )
    op.create_unique_constraint(op.f("uq_card_printed_number"), "card", ["printed_number"])
    op.create_check_constraint(
        op.f("ck_card_printed_number"), "card", "printed_number ~ '^[0-9]{12}$'"
    )


def downgrade() -> None:
    """Remove the number."""
    op.drop_column("card", "printed_number")
