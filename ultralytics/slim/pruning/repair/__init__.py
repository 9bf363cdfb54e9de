"""What makes up for it: constants folded in, layers re-fitted, statistics taken anew."""
