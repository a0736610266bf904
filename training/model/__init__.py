"""The networks and their pretrained weights. Nothing here depends on data or training."""
