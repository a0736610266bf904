"""Model bundles: the model card, export and publication."""
