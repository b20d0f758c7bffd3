"""One archive of what is built, for machines that share nothing."""
