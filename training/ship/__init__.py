"""Bundles: the model card, export and publication."""
