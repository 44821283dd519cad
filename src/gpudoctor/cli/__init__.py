"""One module a command: parse, call, print, exit. No logic; heavy imports inside the command."""
