"""Feature sets, and how their columns are made."""
