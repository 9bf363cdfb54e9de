"""Bring a pruned model back towards its original on unlabelled images alone."""
