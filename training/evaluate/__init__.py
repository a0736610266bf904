"""Figures and reports of runs. Nothing is chosen here."""
