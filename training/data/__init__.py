"""The table of cases, the shards and the batches that every later stage reads."""
