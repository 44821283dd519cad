"""Child: asks one libcuda for its version, whether it starts, and how many devices it sees.

Arguments: the path of libcuda. Imports nothing of ours: it is started as a program of its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys


def main() -> None:
    """Print `version`, then `init`, then `count`, each as soon as it is known."""
    # What a driver library prints on stdout must not mix with the documents.
    out = os.dup(1)
    os.dup2(2, 1)

    def say(kind: str, **fields: object) -> None:
        os.write(out, json.dumps({"kind": kind, **fields}).encode() + b"\n")

    try:
        library = ctypes.CDLL(sys.argv[1])
        get_version, init, get_count = library.cuDriverGetVersion, library.cuInit, library.cuDeviceGetCount
    except (OSError, AttributeError) as error:
        say("unloadable", message=str(error))
        return
    number = ctypes.c_int()
    # The version needs no cuInit, which is the call that hangs when it hangs.
    code = get_version(ctypes.byref(number))
    say("version", code=code, value=number.value)
    code = init(ctypes.c_uint(0))
    say("init", code=code)
    if code == 0:
        code = get_count(ctypes.byref(number))
        say("count", code=code, value=number.value)
    # Not through the driver's exit handlers: all is said, and they could still hang.
    os._exit(0)


if __name__ == "__main__":
    main()
