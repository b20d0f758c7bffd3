"""A budget of time: what is fitted next, what is stopped, what is handed in."""
