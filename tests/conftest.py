"""Settings of the whole suite."""

from __future__ import annotations

from hypothesis import settings

# A time limit of a property's single example measures the machine and whatever else runs on it.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
