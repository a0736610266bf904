"""Metrics with their intervals, computed from arrays: no files, no models."""
