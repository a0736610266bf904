"""Where bundles live: an S3 bucket or a folder. Writes nothing but whole versions."""
