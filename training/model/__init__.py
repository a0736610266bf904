"""The networks and their pretrained weights. Knows nothing of data or of training."""
