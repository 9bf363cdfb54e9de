"""Structured pruning: which channels go together, which matter least, and a smaller model without them."""
