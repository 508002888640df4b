"""Atomic writing of checkpoints."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint to a temporary file in its folder, flush it to disk, then rename it.

    A file with the name of the checkpoint is therefore always complete. Lightning's own writer uses the folder for
    temporary files, which may be on another file system, and does not flush.

    Only checkpoints in the folder of the one that was saved last are removed: Lightning takes the paths of those that
    it replaces from the checkpoint that a run resumes, and would remove any file or folder that it names.

    Raises:
        OSError: the disk is full, the permission is missing or the folder cannot be created. The message names the
            checkpoint. Earlier checkpoints are unchanged.
    """

    folder: str | None = None

    def remove_checkpoint(self, path: Any) -> None:
        if _folder(path) == self.folder and str(path).endswith(".ckpt"):
            super().remove_checkpoint(path)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.folder = _folder(path)
        if "://" in str(path):  # object stores write objects atomically
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        place = Path(path)
        part = place.with_name(f".{place.name}.part")
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                _write(file, buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, place)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            size = f"{buffer.getbuffer().nbytes / 2**20:.1f} MiB"
            failure = OSError(
                f"checkpoint: expected to write {size} to {place}, got {error.strerror or error}; "
                "checkpoints that were saved before are unchanged"
            )
            failure.errno = error.errno
            raise failure from error


def _folder(path: Any) -> str:
    return os.path.dirname(path) if "://" in str(path) else str(Path(path).resolve().parent)


def _write(file: BinaryIO, data: memoryview) -> None:
    file.write(data)
