"""The pictures of the page: pure functions from a `Look` to pixels, uint8 [H, W, 3]."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from involution.explore.network import Look
from involution.visualize import colors
from involution.visualize.pixels import mosaic

Picture = NDArray[np.uint8]
Place = tuple[float, float]
"""(x, y) on the image, as fractions of its width and height."""

SIDE = 640  # pixels, of the longer side of a picture
TAP = 9  # pixels of the picture, of one tap in a sheet of kernels
COLUMNS = 6  # kernels side by side
TITLE, LABEL = 26, 16  # pixels of the picture, above a sheet and above its rows


def heat_picture(image: Tensor, look: Look, layer: str, group: int, place: Place) -> Picture:
    """Draw the heat map of a group over the image, uint8 [3, H, W], and the window of the kernel at a place."""
    heat = look.layers[layer].kernel[0, group].sum((0, 1))
    shown = transforms.resize(image, list(shown_size(image)[::-1]), antialias=True)
    picture = Image.fromarray(colors.over(shown / 255, heat, colors.limit(heat)))
    _outline(picture, look, layer, place)
    return np.asarray(picture)


def shown_size(image: Tensor) -> tuple[int, int]:
    """Return the width and height at which an image is drawn."""
    height, width = image.shape[-2:]
    factor = SIDE / max(height, width)
    return max(1, round(width * factor)), max(1, round(height * factor))


def scale(look: Look, layer: str, group: int) -> float:
    """Return the limit of the colour scale of that heat map."""
    return colors.limit(look.layers[layer].kernel[0, group].sum((0, 1)))


def kernels_picture(look: Look, layer: str, place: Place) -> Picture:
    """Draw the kernels of all groups at a place, and below them their means over the image.

    Both sheets share one symmetric colour scale, which ends at the largest absolute value in either.
    """
    generated = look.layers[layer]
    i, j = generated.pixel(*place)
    here, mean = generated.kernel[0, ..., i, j], generated.kernel[0].mean((3, 4))
    end = torch.stack([here, mean]).abs().max().item() or 1.0
    sheets = [
        _sheet(here, end, f"at the pixel; colours end at ±{end:.2g}"),
        _sheet(mean, end, "mean over the image"),
    ]
    return np.concatenate(sheets)


def group_at(x: int, y: int, groups: int, kh: int, kw: int) -> int | None:
    """Return the group whose kernel is at a pixel of `kernels_picture`, None between kernels."""
    rows, high = -(-groups // COLUMNS), (kh + 1) * TAP + LABEL
    y %= TITLE + rows * high  # either sheet
    row, column = (y - TITLE) // high, x // ((kw + 1) * TAP)
    group = row * COLUMNS + column
    return group if y >= TITLE and column < COLUMNS and group < groups else None


def groups_picture(look: Look, layer: str, group: int) -> Picture:
    """Draw the heat maps of all groups as thumbnails, with a frame around the selected one."""
    maps = look.layers[layer].kernel[0].sum((1, 2))
    return _thumbnails(look, {str(g): values for g, values in enumerate(maps)}, str(group))


def layers_picture(look: Look, layer: str) -> Picture:
    """Draw the heat map of the first group of every layer as a thumbnail, with a frame around the selected layer."""
    maps = {name: generated.kernel[0, 0].sum((0, 1)) for name, generated in look.layers.items()}
    return _thumbnails(look, maps, layer)


def thumbnail_at(look: Look, count: int, x: int, y: int) -> int | None:
    """Return the number of the thumbnail at a pixel of a picture of `count` thumbnails, None outside."""
    width, height = _thumbnail(look)
    number = y // height * (SIDE // width) + x // width
    return number if number < count else None


def _thumbnails(look: Look, maps: dict[str, Tensor], selected: str) -> Picture:
    width, height = _thumbnail(look)
    columns, rows = SIDE // width, -(-len(maps) // (SIDE // width))
    sheet = Image.new("RGB", (min(columns, len(maps)) * width, rows * height), "white")
    drawing = ImageDraw.Draw(sheet)
    for number, (name, values) in enumerate(maps.items()):
        x, y = number % columns * width, number // columns * height
        tile = Image.fromarray(colors.colors(values, colors.limit(values)))
        sheet.paste(tile.resize((width - 6, height - 6), Image.Resampling.BILINEAR), (x + 3, y + 3))
        if name == selected:
            drawing.rectangle([x, y, x + width - 1, y + height - 1], outline="black", width=3)
        label = name.removesuffix(".conv2")  # the involution of a block
        drawing.text((x + 6, y + 4), label, fill="black", stroke_width=2, stroke_fill="white")
    return np.asarray(sheet)


def _thumbnail(look: Look) -> tuple[int, int]:
    height, width = look.image.shape[-2:]
    wide = SIDE // 8
    return wide, max(12, min(2 * wide, round(wide * height / width)))


def window_picture(image: Tensor, look: Look, layer: str, group: int, place: Place) -> Picture:
    """Draw the part of the image around a window and, over it, the kernel that weights these pixels."""
    generated = look.layers[layer]
    i, j = generated.pixel(*place)
    kernel = generated.kernel[0, group, :, :, i, j]
    window = generated.window(i, j)
    left, top, right, bottom = [*window[0, 0, :2].tolist(), *window[-1, -1, 2:].tolist()]
    height, width = image.shape[-2:]
    margin = 0.5 * max((right - left) * width, (bottom - top) * height)  # pixels of the image
    box = [left * width - margin, top * height - margin, right * width + margin, bottom * height + margin]
    factor = 320 / max(box[2] - box[0], box[3] - box[1])
    picture = _crop(image, box, factor)
    drawing = ImageDraw.Draw(picture, "RGBA")
    for tap, color in zip(window.flatten(0, 1), _rgb(kernel).reshape(-1, 3), strict=True):
        x0, y0, x1, y1 = tap.tolist()
        at = [(x0 * width - box[0]) * factor, (y0 * height - box[1]) * factor]
        at += [(x1 * width - box[0]) * factor, (y1 * height - box[1]) * factor]
        drawing.rectangle(at, fill=(*color.tolist(), 150), outline=(255, 255, 255, 110))
    return np.asarray(picture)


def _rgb(kernel: Tensor) -> Picture:
    return colors.colors(kernel, kernel.abs().max().item() or 1.0)


def _crop(image: Tensor, box: list[float], factor: float) -> Image.Image:
    pixels = image.movedim(0, 2).contiguous().numpy()
    size = [max(1, round((box[k + 2] - box[k]) * factor)) for k in (0, 1)]
    height, width = image.shape[-2:]
    frame = [max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)]
    inside = [max(1, round((frame[k + 2] - frame[k]) * factor)) for k in (0, 1)]
    picture = Image.new("RGB", (size[0], size[1]), (120, 120, 120))  # outside the image
    part = Image.fromarray(pixels).resize((inside[0], inside[1]), Image.Resampling.BICUBIC, box=tuple(frame))  # type: ignore[arg-type]
    picture.paste(part, (round((frame[0] - box[0]) * factor), round((frame[1] - box[1]) * factor)))
    return picture


def _outline(picture: Image.Image, look: Look, layer: str, place: Place) -> None:
    generated = look.layers[layer]
    window = generated.window(*generated.pixel(*place))
    center = window[window.shape[0] // 2, window.shape[1] // 2]
    drawing = ImageDraw.Draw(picture)
    for outer, inner, width in ((window[0, 0, :2], window[-1, -1, 2:], 2), (center[:2], center[2:], 1)):
        box = [part * side for part, side in zip((*outer.tolist(), *inner.tolist()), picture.size * 2, strict=True)]
        for grow, color in ((width, "black"), (0, "white")):
            drawing.rectangle([box[0] - grow, box[1] - grow, box[2] + grow, box[3] + grow], outline=color, width=width)


def _sheet(kernels: Tensor, end: float, title: str) -> Picture:
    """Draw [G, Kh, Kw] in rows, each with the number of its group, under a title."""
    font = ImageFont.load_default(14)
    count, kh, kw = kernels.shape
    columns, width = min(COLUMNS, count), max(COLUMNS * (kw + 1) * TAP, 420)
    strips = [np.full((TITLE, width, 3), 255, np.uint8)]
    for start in range(0, count, columns):
        row = kernels[start : start + columns]
        strip = np.full(((kh + 1) * TAP + LABEL, width, 3), 255, np.uint8)
        tiles = mosaic(row[None], end).repeat(TAP, 0).repeat(TAP, 1)
        strip[LABEL : LABEL + tiles.shape[0], : tiles.shape[1]] = tiles
        strips.append(strip)
    sheet = Image.fromarray(np.concatenate(strips))
    drawing = ImageDraw.Draw(sheet)
    drawing.text((2, 4), title, fill="black", font=font)
    for g in range(count):
        x, y = (g % columns) * (kw + 1) * TAP, TITLE + (g // columns) * ((kh + 1) * TAP + LABEL)
        drawing.text((x + 1, y), str(g), fill=(90, 90, 90), font=ImageFont.load_default(12))
        drawing.rectangle([x, y + LABEL, x + kw * TAP - 1, y + LABEL - 1 + kh * TAP], outline=(150, 150, 150))
    return np.asarray(sheet)
