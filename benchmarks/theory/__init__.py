"""Benchmarks of the part on the theory of what networks can learn."""
