"""Fits in an interpreter of their own: `calls` here, `runner` over there, and files between them."""
