"""A run as the graph that is served, with its calibration and thresholds."""
