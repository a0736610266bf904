"""From archives of photos to TFRecord shards. Trains nothing and needs no Keras."""
