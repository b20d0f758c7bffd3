"""Numbers alone: the AUC, ranks, log odds and intervals, without rows, files or sources."""
