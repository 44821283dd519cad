"""The probes that run: children of the target interpreter, one step each, and what their deaths mean."""
