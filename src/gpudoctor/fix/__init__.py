"""Findings to plan to journal: what a process needs, how to give it to it, and how to take it back."""
