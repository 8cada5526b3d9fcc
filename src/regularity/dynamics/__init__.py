"""Dynamics: the optimiser regularises."""
