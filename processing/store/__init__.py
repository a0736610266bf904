"""Stores of bundles, in an S3 bucket or a folder. Only complete versions are written."""
