"""gpudoctor: which GPU library file each consumer of a Python environment will load, and why that works or fails."""

__version__ = "0.1.0"
