"""Rosters, grants and claims."""

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""


def downgrade() -> None:
    """Remove them."""
