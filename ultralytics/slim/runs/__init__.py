"""A whole run: its stages, its settings, its record in `run.json`, and a dry run of it."""
