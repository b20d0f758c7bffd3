"""Fits of a source on a fold, and what they leave."""
