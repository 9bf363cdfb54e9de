"""What a model costs and finds: accuracy, compute, size, latency in turns, detections."""
