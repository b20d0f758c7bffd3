"""The user's tables, labels and their typed copies."""
