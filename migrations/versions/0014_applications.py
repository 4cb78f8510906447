"""Campaigns, applications and draws."""

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""


def downgrade() -> None:
    """Remove them."""
