"""The allocator of CPU memory: glibc with default settings, configured to keep or to return memory, or huge pages.

By default, glibc returns a freed block of more than 32 MiB to the system, and the system clears every page of the next
allocation. For feature maps of a large batch, this takes as long as a layer. All settings occur in production: many
servers preload an allocator that keeps freed memory, and PyTorch asks for huge pages if an environment variable is set.
Smaller blocks stay in the heap, which grows while their sizes change, unless a variable lowers this limit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Setting:
    """An allocator: its name in records, the folder of records of speed, and the environment that chooses it."""

    name: str
    folder: str
    variables: Mapping[str, str] = field(default_factory=dict)


SETTINGS = {
    "default": Setting("glibc", "cpu"),
    "keep": Setting(
        "glibc, keeping freed memory",
        "cpu-keeping-memory",
        {
            "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
            "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
            "MALLOC_TOP_PAD_": str(1 << 26),
        },
    ),
    "return": Setting(
        "glibc, returning blocks of 1 MiB", "cpu-returning-memory", {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    ),
    "huge-pages": Setting("glibc, huge pages", "cpu-huge-pages", {"THP_MEM_ALLOC_ENABLE": "1"}),
}
VARIABLES = frozenset(variable for setting in SETTINGS.values() for variable in setting.variables)


def current() -> Setting:
    """Return the setting of this process."""
    own = {variable: os.environ[variable] for variable in VARIABLES & os.environ.keys()}
    return next((setting for setting in SETTINGS.values() if setting.variables == own), SETTINGS["default"])


def restart_with(setting: str) -> None:
    """Restart this command with the setting if necessary. glibc reads the setting when a process starts."""
    if current() != SETTINGS[setting]:
        clean = {key: value for key, value in os.environ.items() if key not in VARIABLES}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**clean, **SETTINGS[setting].variables})
