"""Adding to a file that another program collects, such as a CI system's job summary."""

from __future__ import annotations

import os

from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.system.writing import write_all


def append_whole(path: str, text: str, limit_bytes: int) -> bool:
    """Append a text in full, or not at all where the file would then exceed a limit.

    Returns:
        Whether it was appended.

    Raises:
        GpuDoctorError: It cannot be written.
    """
    data = text.encode("utf-8", "backslashreplace")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            if os.fstat(fd).st_size + len(data) > limit_bytes:
                return False
            write_all(fd, data)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise GpuDoctorError(f"cannot append to {path}: {detail}") from error
    return True
