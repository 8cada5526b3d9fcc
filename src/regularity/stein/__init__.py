"""Stein: knowing the risk without the truth."""
