"""Driver libraries without hardware: real C code that real callers load."""
