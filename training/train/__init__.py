"""Cross-validation and the run folder that it writes. Test sets are never read here."""
