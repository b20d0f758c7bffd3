"""Feature audits."""
