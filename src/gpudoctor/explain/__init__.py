"""Error log -> ranked true causes."""
