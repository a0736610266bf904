"""`python -m training COMMAND`, a file for each command. Imports what it needs when it runs."""
