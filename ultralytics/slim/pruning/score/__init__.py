"""What matters: a score for every channel, from weights, unlabelled images or the loss."""
