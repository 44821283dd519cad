"""Lock files, and what differs between a recorded and a present state."""
