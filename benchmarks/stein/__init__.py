"""Benchmarks of the part on Stein's identity."""
