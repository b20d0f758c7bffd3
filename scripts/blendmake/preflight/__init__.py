"""What is checked before a campaign."""
