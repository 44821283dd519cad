"""The faster-whisper benchmark: on the GPU, on the CPU when that fails, and why."""
