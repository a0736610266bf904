"""Cases, shards and batches: what every later stage reads."""
