"""Figures with their intervals. Knows arrays alone: no files, no models."""
