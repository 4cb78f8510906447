"""Benefits: rosters of who is entitled, grants, claims, and what comes back."""
