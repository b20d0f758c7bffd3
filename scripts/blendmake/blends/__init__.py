"""Blends: weights, stackers, and their files."""
