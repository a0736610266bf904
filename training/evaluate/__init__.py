"""Figures and reports of runs. Chooses nothing."""
