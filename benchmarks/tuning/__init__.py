"""Benchmarks of the part on tuning."""
