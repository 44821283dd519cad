"""Snapshot + matrix -> evaluations. Pure. One module a rule or family, an explicit registry."""
