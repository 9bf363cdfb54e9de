"""How a model bears pruning, before any is done."""
