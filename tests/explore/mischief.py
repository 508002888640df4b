"""Malformed and malicious image files: those that are rejected, with the reason, and those that are read."""

import io
import zlib

from PIL import Image


def png(width, height, rows):
    """Return a grey PNG whose header declares a size."""

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
