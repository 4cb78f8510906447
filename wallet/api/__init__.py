"""The doors over HTTP, by audience, and the words and statuses of every refusal."""
