"""Cross-validation, and the run folder that it writes. Sees no test set."""
