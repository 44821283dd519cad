"""What the way a command ended says by itself."""

from __future__ import annotations

from gpudoctor.model.explanation import Ending

# What to do next when a command ended badly without a word.
SILENT = (
    "The command printed nothing. Run it so that it shows what it does (its own option for verbose output, or "
    "`python -X faulthandler` for a Python program that crashes)."
)
_SIGNALS = {
    "SIGABRT": "the program stopped itself; C++ libraries, cuDNN among them, do so after their last message",
    "SIGSEGV": "a library crashed on a memory access; the log's last lines or a core dump tell which",
    "SIGBUS": "mostly a library file that is cut short, or a full disk or memory below a mapped file",
    "SIGILL": "the processor lacks an instruction that a library was built with",
    "SIGKILL": "somebody killed it; without a word that is mostly the kernel's out-of-memory killer (main memory, not "
    "the GPU's), see `dmesg`",
    "SIGTERM": "somebody asked it to end",
    "SIGINT": "it was interrupted from the keyboard",
    "SIGPIPE": "the reader of its output went away",
}


def explain_ending(status: int | None, signal: str | None) -> Ending:
    """Return what an exit status or a signal says."""
    if signal is not None:
        words = _SIGNALS.get(signal, "that alone says nothing of the cause")
    elif status and status > 128:
        words = f"a shell gives {status} when signal {status - 128} ended the program"
    else:
        words = "the status alone says nothing of the cause"
    return Ending(status=status, signal=signal, explanation=words)
