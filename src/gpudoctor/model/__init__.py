"""Plain immutable types, shared by every layer. Imports nothing of ours."""
