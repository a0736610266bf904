"""What things cost, printed by `python -m benchmarks.NAME`."""
