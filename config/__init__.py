"""Settings, validated once at the edge. Imports nothing else of the project."""
