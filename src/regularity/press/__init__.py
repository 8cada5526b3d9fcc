"""What executes the book and prints it."""
