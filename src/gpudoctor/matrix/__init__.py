"""The compatibility matrix: fact types, loading, look-up by subject and version."""
