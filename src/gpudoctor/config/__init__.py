"""What a project settles for itself: `[tool.gpudoctor]` in pyproject.toml, or gpudoctor.toml."""
