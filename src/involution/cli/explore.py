"""`involution explore`: a page for the browser that shows the kernels of a network on any image.

Only this machine can reach it. The checkpoints in `runs`, or in the folder of `--checkpoints`, are offered, the newest
first, and after them the weights of the package and untrained networks. Other checkpoints can be dropped on the page.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from involution.cli.errors import Parser, UserError
from involution.weights import PRETRAINED

RUNS = Path("runs")
ENDINGS = (".ckpt", ".pt", ".pth", ".safetensors")


def run(command: str, arguments: Sequence[str]) -> None:
    """Serve the page until the user interrupts it."""
    parser = Parser(prog="involution explore", description=__doc__)
    parser.add_argument(
        "--checkpoints", metavar="FOLDER", help="folder of checkpoints, searched recursively (default: runs)"
    )
    parser.add_argument("--port", type=int, help="port of the page (default: the first free one from 7860 on)")
    given = parser.parse_args(arguments)
    if given.port is not None and not 1 <= given.port <= 65535:
        raise UserError(f"--port: expected 1 to 65535, got {given.port}")
    checkpoints = _find(Path(given.checkpoints)) if given.checkpoints else _newest(RUNS)
    if find_spec("gradio") is None:
        raise UserError("explore: expected the package gradio, got none; pip install 'involution[explore]'")

    from involution.explore.explorer import Explorer, samples  # imported after the arguments are checked
    from involution.explore.server import HOST, serve

    if given.port is not None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, given.port)) == 0:
                raise UserError(f"--port: expected a free port, got {given.port}, which another program serves")

    with serve(Explorer({**checkpoints, **PRETRAINED}, samples()), given.port) as address:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM also runs the cleanup
        print(f"{address} (Ctrl+C ends it)", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the shutdown
            print()


def _find(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"--checkpoints: expected a folder, got {folder}, which is not a folder")
    files = _newest(folder)
    if not files:
        raise UserError(f"--checkpoints: expected files ending in {', '.join(ENDINGS)}, got {folder} with none")
    return files


def _newest(folder: Path) -> dict[str, Path]:
    """Return the checkpoints in a folder and below by their relative names, those of the newest run first."""
    files = [path for path in folder.rglob("*") if path.suffix in ENDINGS and path.is_file()]
    written: dict[Path, float] = {}
    for path in files:
        written[path.parent] = max(path.stat().st_mtime, written.get(path.parent, 0.0))
    files.sort(key=lambda path: (-written[path.parent], path))  # best.ckpt before last.ckpt
    return {str(path.relative_to(folder)): path for path in files}
