"""Look at a data folder before training: leaks, shortcuts, counts and images."""
