"""Dependency and container files -> findings with file and line, before anything is installed."""
