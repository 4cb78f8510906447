"""What tests begin with: a short file for each room, and a small city of all of them."""
