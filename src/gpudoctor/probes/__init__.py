"""System -> parts of a snapshot. Probes never raise for the state of the machine and know nothing of rules."""
