"""Benchmarks of the part on the dynamics of training."""
