"""What goes on while nobody pays."""
