"""The glibc loader emulated: ELF reader, search order, cache, resolution with found_via and the misses."""
