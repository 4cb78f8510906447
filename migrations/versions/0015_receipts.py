"""Money that comes in, and what was bought with it."""

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""


def downgrade() -> None:
    """Remove them."""
