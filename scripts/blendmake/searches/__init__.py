"""Searches: Optuna studies as files, from their trials to what is learned of them."""
