"""The allocator of CPU memory: glibc with default settings, or glibc configured to keep freed memory.

By default, glibc returns a freed block of more than 32 MiB to the system, and the system clears every page of the next
allocation. For feature maps of a large batch, this takes as long as a layer. Both settings occur in production: many
servers preload an allocator that keeps freed memory.
"""

from __future__ import annotations

import os
import sys

KEEPING = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 26),
}
NAMES = {"default": "glibc", "keep": "glibc, keeping freed memory"}


def name() -> str:
    """Return the name of the setting of this process, for the record."""
    return NAMES["keep" if os.environ.items() >= KEEPING.items() else "default"]


def restart_with(setting: str) -> None:
    """Restart this command with the setting if necessary. glibc reads the setting when a process starts."""
    if name() != NAMES[setting]:
        clean = {key: value for key, value in os.environ.items() if key not in KEEPING}
        environment = {**clean, **(KEEPING if setting == "keep" else {})}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
