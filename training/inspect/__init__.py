"""What a data folder shows: leaks, shortcuts, contact sheets. Changes nothing in it."""
