"""Tuning: learning the regulariser."""
