"""The newest set of versions that the whole matrix accepts."""
