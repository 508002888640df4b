"""Tables of speed on CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.measuring.allocator import SETTINGS
from benchmarks.measuring.options import Row
from benchmarks.measuring.record import MEASURED, Record, load
from benchmarks.tables.markdown import markdown, spread, where
from benchmarks.tables.published import key, published

OURS = (
    "involution2d",
    "involution2d_grad_x",
    "involution2d_grad_kernel",
    "involution2d_spanned",
    "involution2d_spanned_backward",
)
RIVALS = ("unfold", "unfold, compiled", "shifted sums, compiled")
KEEPING = "cpu-keeping-memory"
TRAINING = tuple(f"{setting.folder}/training" for setting in SETTINGS.values())


def measured(name: str, folder: str = "cpu") -> Record:
    """Return a record of the CPU."""
    here = MEASURED / "speed" / folder / f"{name}.json"
    return load(f"speed/{folder if here.exists() else KEEPING}/{name}")


def limit(record: Record) -> str:
    """Return the description of the limit to which the shares are relative."""
    found = record.settings["limits"]
    macs, copy = found["macs_per_s"]["float32"], found["copy_bytes_per_s"]
    share = f"Shares are of {macs / 1e9:.0f} G multiply-adds/s ({found['macs_per_s_of']})" if macs else "No limit"
    return f"\n{share}; a copy reads and writes {copy / 1e9:.0f} GB/s.\n"


def operator(folder: str = "cpu") -> str:
    """Return each operator at each stage: time and share of the multiply-add limit."""
    record = measured("operator", folder)
    lines = []
    for stage, layout in _stages(record):
        rows = [record.one(stage=stage, memory_format=layout, operator=name) for name in OURS]
        lines.append([_shape(rows[0]), layout, *(f"{spread(row)}{_share(row)}" for row in rows)])
    header = ["stage", "layout", *(name.removeprefix("involution2d_").replace("_", " ") for name in OURS)]
    header[2] = "forward"
    return markdown(header, lines, 2) + limit(record) + where(record, "float32", "times in ms: median (quartiles)")


def rivals(folder: str = "cpu") -> str:
    """Return the times of the formulas relative to our channels-last forward, each in its fastest layout."""
    record = measured("operator", folder)
    lines = []
    for stage in dict.fromkeys(stage for stage, _ in _stages(record)):
        ours = record.one(stage=stage, memory_format="channels last", operator="involution2d")
        cells = [_shape(ours), f"{ours['median_ms']:.2f}"]
        for name in RIVALS:
            best = min(record.all(stage=stage, operator=name), key=lambda row: float(row["median_ms"]))
            cells += [
                f"{best['median_ms']:.2f}, {best['memory_format']}",
                f"{best['median_ms'] / ours['median_ms']:.1f}x",
            ]
        lines.append(cells)
    header = ["stage", "forward, ms", *(word for name in RIVALS for word in (f"{name}, ms", "ratio"))]
    return markdown(header, lines) + where(record, "float32", "medians")


def _stages(record: Record) -> list[tuple[int, str]]:
    return list(dict.fromkeys((row["stage"], row["memory_format"]) for row in record.rows))


def _shape(row: Row) -> str:
    return f"{row['channels']}x{row['side']}x{row['side']}"


def _share(row: Row) -> str:
    return f", {100 * row['of_macs_limit']:.0f} %" if row.get("of_macs_limit") else ""


def layer(folder: str = "cpu") -> str:
    """Return the layer and the 3x3 convolution that it replaces."""
    record = measured("layer", folder)
    lines = []
    for stage in dict.fromkeys(row["stage"] for row in record.rows):
        cells = [_shape(record.all(stage=stage)[0])]
        for task in ("forward", "forward and backward"):
            conv, ours = (record.one(stage=stage, task=task, layer=name) for name in ("Conv2d 3x3", "Involution2d"))
            cells += [spread(conv), spread(ours), f"{ours['ratio']:.2f}x"]
        lines.append(cells)
    header = ["stage", "Conv2d 3x3, forward, ms", "Involution2d, ms", "ratio"]
    header += ["Conv2d 3x3, forward and backward, ms", "Involution2d, ms", "ratio"]
    return markdown(header, lines) + where(record, "float32", "median (quartiles)")


def networks(folder: str = "cpu", dtype: str = "float32") -> str:
    """Return inference of networks: time, time relative to ResNet-50, and share of the multiply-add limit."""
    record = measured("networks", folder)
    rows = record.all(dtype=dtype)
    columns = sorted({(row["mode"] != "eager", row["batch"]) for row in rows}, key=lambda c: (c[1], c[0]))
    lines = []
    for network in dict.fromkeys(row["network"] for row in rows):
        found = {(row["mode"] != "eager", row["batch"]): row for row in rows if row["network"] == network}
        macs = next((row["macs"] / row["batch"] for row in found.values() if row["macs"]), None)
        cells = [
            f"{row['median_ms']:.0f} ms, {row['ratio']:.2f}x{_share(row)}" if row else ""
            for row in map(found.get, columns)
        ]
        lines.append([f"`{network}`", f"{macs / 1e9:.2f}" if macs else "", *cells])
    modes = [f"{'compiled, frozen weights' if compiled else 'eager'}, batch {batch}" for compiled, batch in columns]
    table = markdown(["network", "multiply-adds, G", *modes], lines)
    shares = limit(record) if any(row.get("of_macs_limit") for row in rows) else ""
    return table + shares + where(record, dtype, "channels last unless named", "medians")


def table2() -> str:
    """Return the paper's Table 2 with a column of our own."""
    record = measured("table2")
    first = published("table2")[0]

    def line(row: Row) -> list[str]:
        ours = record.one(network=key(row))
        theirs = f"{row['cpu'] / first['cpu']:.2f}x" if "cpu" in row else ""
        figures = (str(row.get(column, "")) for column in ("top1", "gpu", "cpu"))
        return [row["label"], *figures, theirs, spread(ours), f"{ours['ratio']:.2f}x"]

    header = ["network", "top-1, %", "GPU, ms", "CPU, ms", "to ResNet-50", "ours, CPU, ms", "to ResNet-50"]
    return markdown(header, map(line, published("table2"))) + where(record, "float32", "median (quartiles)")


def training() -> str:
    """Return time and peak memory of a training step, with every allocator that was measured."""
    records = [load(f"speed/{name}") for name in TRAINING if (MEASURED / "speed" / f"{name}.json").exists()]
    lines = []
    for record in records:
        reference = record.one(network=record.settings["reference"])
        lines += [
            [
                record.machine["allocator"],
                f"`{row['network']}`",
                spread(row) if row.get("median_ms") else "",
                f"{row['ratio']:.2f}x" if row.get("ratio") else "",
                f"{row['peak_memory_mib']:.0f}",
                f"{row['peak_memory_mib'] / reference['peak_memory_mib']:.2f}x",
            ]
            for row in record.rows
        ]
    batch = records[0].rows[0]["batch"]
    header = ["allocator", "network", f"step of {batch} images, ms", "ratio", "peak memory, MiB", "ratio"]
    return markdown(header, lines, 2) + where(
        records[0], "float32", records[0].settings["optimizer"], "median (quartiles)"
    )


def scaling() -> str:
    """Return time by number of threads, batch size and image size."""
    record = measured("scaling")
    lines = [
        [f"`{row['work']}`: speed-up of {row['threads']} threads", f"{row['speedup']:.2f}"]
        for row in record.rows
        if row.get("threads", 1) > 1
    ]
    lines += [[f"ms per image, batch {row['batch']}", f"{row['per_image_ms']:.1f}"] for row in record.all(work="batch")]
    lines += [
        [f"ns per pixel, {row['size_px'][0]}x{row['size_px'][1]}, batch {row['batch']}", f"{row['per_pixel_ns']:.0f}"]
        for row in record.all(work="size")
    ]
    return markdown(["measure", "value"], lines) + where(record, record.settings["network"], "float32", "medians")


def division() -> str:
    """Return the speed-up by number of threads, if only the longest share of the work counts."""
    record = load("deployment/division")
    threads = list(dict.fromkeys(row["threads"] for row in record.rows))
    lines = []
    for work, batch in dict.fromkeys((row["work"], row["batch"]) for row in record.rows):
        cells = []
        for count in threads:
            found = [float(row["speedup"]) for row in record.all(work=work, batch=batch, threads=count)]
            cells.append(f"{min(found):.1f}–{max(found):.1f}")
        lines.append([str(work), str(batch), *cells])
    header = ["work", "batch", *(f"{count} threads" for count in threads)]
    return markdown(header, lines) + where(record, "float32", "from the smallest to the largest of the four stages")


def precision() -> str:
    """Return bfloat16 compared to float32."""
    record = measured("precision")
    error = f"{record.settings['largest_error_of_logits']:.3f}"
    lines = [[row["dtype"], spread(row), f"{row['ratio']:.2f}x"] for row in record.rows]
    lines[-1].append(error)
    header = ["dtype", "time, ms", "ratio", "largest error of the logits, relative to the largest logit"]
    lines[0].append("")
    return markdown(header, lines) + where(record, record.settings["network"], f"batch {record.settings['batch']}")


BLOCKS: dict[str, Callable[[], str]] = {
    "cpu-operator": operator,
    "cpu-rivals": rivals,
    "cpu-layer": layer,
    "cpu-network": networks,
    "cpu-network-bfloat16": partial(networks, dtype="bfloat16"),
    "table2": table2,
    "cpu-training": training,
    "cpu-scaling": scaling,
    "cpu-division": division,
    "cpu-precision": precision,
    "cpu-operator-keeping-memory": partial(operator, KEEPING),
    "cpu-network-keeping-memory": partial(networks, KEEPING),
}
