"""Photos in, data folders out: reads the sources, drops images by rule, writes the shards."""
