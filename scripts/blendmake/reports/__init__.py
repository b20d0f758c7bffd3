"""What people read: leaderboard, figures, status, manifests."""
