"""The only door to the machine: a read protocol, a write protocol, the real machine, and one in memory."""
