"""Theory: what networks can learn."""
