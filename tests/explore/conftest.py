"""What the page is shown: a tiny network with involutions, small photographs, and files of every kind of mischief."""

import io
import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image

from involution.explore import load_network
from involution.explore.explorer import Explorer, Source, photograph
from involution.explore.views import View


@pytest.fixture(scope="session")
def network(weights):
    return load_network(None, weights)


@pytest.fixture(scope="session")
def pictures():
    generator = torch.Generator().manual_seed(0)
    small = [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in ((6, 9), (8, 8))]
    return {"wide": small[0].repeat_interleave(8, 1).repeat_interleave(8, 2), "square": small[1].repeat(1, 8, 8)}


@pytest.fixture(scope="session")
def explorer(weights, pictures):
    return Explorer({"two.ckpt": weights}, pictures)


@pytest.fixture
def view(weights, pictures):
    return View(Source(None, weights), photograph(pictures["wide"]))


@pytest.fixture(scope="session")
def server(weights, tmp_path_factory):
    """The command in a process of its own, started in a folder with a secret."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "secret.txt").write_text("secret")
    (folder / "temporary").mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "temporary"), "GRADIO_SHARE": "True"}
    environment |= {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_ALLOWED_PATHS": "/"}  # what a user may have set elsewhere
    command = [sys.executable, "-m", "involution", "explore", "--checkpoints", str(weights.parent)]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    address = process.stdout.readline().split()[0]
    yield Server(address, process.pid, folder)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert list((folder / "temporary").iterdir()) == []


@pytest.fixture(scope="session")
def address(server):
    return server.address


class Server(NamedTuple):
    address: str
    pid: int
    folder: Path


def png(width, height, rows):
    """Return a grey PNG that claims a size."""

    def chunk(kind, content):
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    head = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")
    )


def encoded(image, kind, **kwargs):
    file = io.BytesIO()
    image.save(file, kind, **kwargs)
    return file.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><rect width="9" height="9"/></svg>'
NOISE = Image.effect_noise((60, 40), 90)

REFUSED = {
    "text.png": (b"no image at all", "text.png (not a known format)"),
    "drawing.svg": (SVG, "drawing.svg (not a known format)"),
    "renamed.png": (SVG, "renamed.png (not a known format)"),
    "huge.png": (png(20_000, 20_000, 1000), "at most 67,108,864 pixels, got huge.png with more"),
    "bomb.png": (png(9000, 9000, 1000), "at most 67,108,864 pixels, got bomb.png with more"),
    "cut.jpg": (encoded(NOISE, "JPEG")[:600], "cut.jpg (image file is truncated"),
    "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "(not a known format)"),
    "empty.png": (b"", "empty.png (not a known format)"),
}

READ = {
    "moving.gif": encoded(NOISE, "GIF", save_all=True, append_images=[NOISE.rotate(90)] * 3),
    "print.jpg": encoded(NOISE.convert("CMYK"), "JPEG"),
    "deep.png": encoded(NOISE.convert("I;16"), "PNG"),
    "few.png": encoded(NOISE.convert("P"), "PNG", transparency=bytes([0, 128])),
    "thin.png": encoded(Image.new("RGB", (900, 2)), "PNG"),
    "dot.bmp": encoded(Image.new("L", (1, 1)), "BMP"),
}
