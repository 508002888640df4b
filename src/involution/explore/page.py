"""The page of `involution explore`: the layout and the event handlers. The logic is in `views`."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from PIL import Image

from involution.explore.explorer import Explorer, Source, read_photograph
from involution.explore.links import link, linked
from involution.explore.pictures import Picture, shown_size
from involution.explore.views import SIZES, Shown, View, chosen_at, first_view, show

INTRODUCTION = """# Generated kernels
An involution generates a kernel at every pixel. The map shows the sum of the kernels of one group of channels, red
above zero, blue below. **Click a pixel** to show its kernels and their window on the image, **a small map or a
kernel** to show its layer or group."""

CREDITS = """<small>Samples: [koala](https://commons.wikimedia.org/wiki/File:Koala_Perth_Zoo.jpg) by BurningWell, public
domain; of scikit-learn: [china](https://www.flickr.com/photos/danielbuechele/6061409035/) by danielbuechele and
[flower](https://www.flickr.com/photos/vultilion/6056698931/) by vultilion,
[CC BY 2.0](https://creativecommons.org/licenses/by/2.0/), and digits.</small>"""

CSS = """
.gradio-container {max-width: 1500px !important; margin: auto}
.message:not(:has(p)) {display: none}
.message p {margin: 0; padding: 8px 12px; border-left: 4px solid #b2182b; background: #fbeae6; color: #40080f}
.legend {display: flex; align-items: center; gap: 8px; font-variant-numeric: tabular-nums}
.legend i {flex: 1; height: 12px; background: linear-gradient(to right, #053061, #4393c3, #f7f7f7, #d6604d, #67001f)}
.picture img {cursor: crosshair}
.choice img {cursor: pointer}
@media (max-width: 600px) {.gradio-container .column {min-width: 100% !important}}
"""


ADDRESS = """legend => {
    const link = new DOMParser().parseFromString(legend, "text/html").querySelector("a");
    history.replaceState(null, "", link ? link.getAttribute("href") : location.pathname);
}"""
"""Shows the link to the first view in the browser's address bar."""

OWN_CHECKPOINT, OWN_IMAGE = "your checkpoint", "your image"
HIDDEN: dict[str, Any] = {"api_visibility": "private"}
Updates = dict[Any, Any]
"""Components and their new values, as gradio takes them from an event handler."""


@dataclass(frozen=True)
class Panel:
    """The components of one view."""

    view: gr.State
    network: gr.Dropdown
    checkpoint: gr.File
    sample: gr.Dropdown
    upload: gr.File
    layer: gr.Dropdown
    group: gr.Dropdown
    size: gr.Slider
    message: gr.HTML
    heat: gr.Image
    legend: gr.HTML
    layers_sheet: gr.Image
    groups_sheet: gr.Image
    kernels: gr.Image
    window: gr.Image
    classes: gr.Label

    @property
    def outputs(self) -> list[Any]:
        """The components that change with the view."""
        return [
            *(self.view, self.message, self.network, self.sample, self.layer, self.group, self.size),
            *(self.heat, self.legend, self.layers_sheet, self.groups_sheet),
            *(self.kernels, self.window, self.classes),
        ]


def create_page(explorer: Explorer) -> gr.Blocks:
    """Return the page, to be launched by `serve`."""
    start = first_view(explorer)
    page = gr.Blocks(title="involution explore", analytics_enabled=False, delete_cache=(600, 3600))
    with page:
        gr.Markdown(INTRODUCTION)
        compare = gr.Checkbox(label="Compare two networks or two images", elem_id="compare")
        with gr.Row():
            with gr.Column(min_width=320):
                title = gr.Markdown("## First", visible=False)
                first = _panel(explorer, start, "a")
            with gr.Column(min_width=320, visible=False) as beside:
                gr.Markdown("## Second")
                second = _panel(explorer, start, "b")
        for panel in (first, second):
            _connect_choices(explorer, panel)
            _connect_clicks(explorer, panel, (first, second), compare)

        def load(request: gr.Request) -> Updates:
            return _update(explorer, first, lambda: linked(explorer, start, request.query_params))

        def show_second(on: bool, one: View, view: View) -> Updates:
            if not view.layer:  # the first time: the same network and layer on another image
                view = replace(one, image=explorer.another(one.source, one.image))
            drawn = _update(explorer, second, lambda: view) if on else {}
            return {title: gr.Markdown(visible=on), beside: gr.Column(visible=on), **drawn}

        gr.Markdown(CREDITS)
        page.load(load, None, first.outputs, **HIDDEN)
        first.legend.change(None, first.legend, None, js=ADDRESS, **HIDDEN)
        compare.change(show_second, [compare, first.view, second.view], [title, beside, *second.outputs], **HIDDEN)
    page.queue(max_size=64, default_concurrency_limit=8)
    return page


def _panel(explorer: Explorer, start: View, name: str) -> Panel:
    choice: dict[str, Any] = {"interactive": True, "filterable": False}
    picture: dict[str, Any] = {"interactive": False, "buttons": ["download"], "format": "png", "show_label": False}
    choosing = {**picture, "buttons": [], "elem_classes": "choice"}
    networks, images = [*explorer.sources, OWN_CHECKPOINT], [*explorer.images, OWN_IMAGE]
    with gr.Row():
        network = gr.Dropdown(networks, label="Network", elem_id=f"network-{name}", min_width=230, **choice)
        sample = gr.Dropdown(images, label="Image", elem_id=f"sample-{name}", min_width=120, **choice)
        layer = gr.Dropdown([], label="Layer", elem_id=f"layer-{name}", min_width=190, **choice)
        group = gr.Dropdown([], label="Group", elem_id=f"group-{name}", min_width=80, **choice)
        size = gr.Slider(*SIZES, step=32, label="Short side", elem_id=f"size-{name}", min_width=220)
    with gr.Accordion("An image or a checkpoint of your own", open=False, elem_id=f"own-{name}"), gr.Row():
        upload = gr.File(label="Image", elem_id=f"upload-{name}", height=120)
        checkpoint = gr.File(label="Checkpoint", elem_id=f"checkpoint-{name}", height=120)
    message = gr.HTML(elem_id=f"message-{name}", elem_classes="message")
    with gr.Row():
        with gr.Column(scale=5, min_width=420):
            gr.Markdown("**Sum of the kernel at every pixel**")
            heat = gr.Image(label="Heat map", elem_id=f"heat-{name}", elem_classes="picture", **picture)
            legend = gr.HTML(elem_id=f"legend-{name}")
            gr.Markdown("**All groups of the layer**")
            groups_sheet = gr.Image(label="Groups", elem_id=f"groups-{name}", **choosing)
            gr.Markdown("**All layers**, the first group of each")
            layers_sheet = gr.Image(label="Layers", elem_id=f"layers-{name}", **choosing)
        with gr.Column(scale=4, min_width=360):
            classes = gr.Label(label="Predicted classes", elem_id=f"classes-{name}", show_heading=False)
            gr.Markdown("**Kernels of all groups**")
            kernels = gr.Image(label="Kernels", elem_id=f"kernels-{name}", elem_classes="choice", **picture)
            gr.Markdown("**The kernel over its window of the image**")
            window = gr.Image(label="Window", elem_id=f"window-{name}", **picture)
    return Panel(
        view=gr.State(start, time_to_live=3600),
        network=network,
        checkpoint=checkpoint,
        sample=sample,
        upload=upload,
        layer=layer,
        group=group,
        size=size,
        message=message,
        heat=heat,
        legend=legend,
        layers_sheet=layers_sheet,
        groups_sheet=groups_sheet,
        kernels=kernels,
        window=window,
        classes=classes,
    )


def _connect_choices(explorer: Explorer, panel: Panel) -> None:
    def on(event: Callable[..., Any], component: Any, change: Callable[[View, Any], View]) -> None:
        def update(view: View, value: Any) -> Updates:
            return _update(explorer, panel, lambda: change(view, value))

        event(update, [panel.view, component], panel.outputs, show_progress_on=panel.heat, **HIDDEN)

    def network(view: View, name: str) -> View:
        source = explorer.sources.get(name, view.own_source)
        if source is None:
            raise ValueError("checkpoint: expected an uploaded file, got none")
        return _fitting(explorer, replace(view, source=source, size=0))

    def sample(view: View, name: str) -> View:
        image = explorer.images.get(name, view.own_image)
        if image is None:
            raise ValueError("image: expected an uploaded file, got none")
        return replace(view, image=image)

    def upload(view: View, path: str) -> View:
        image = read_photograph(path)
        return replace(view, image=image, own_image=image)

    def checkpoint(view: View, path: str) -> View:
        source = Source(None, Path(path))
        return _fitting(explorer, replace(view, source=source, own_source=source, size=0))

    on(panel.network.input, panel.network, network)
    on(panel.sample.input, panel.sample, sample)
    on(panel.upload.upload, panel.upload, upload)
    on(panel.checkpoint.upload, panel.checkpoint, checkpoint)
    on(panel.layer.input, panel.layer, lambda view, name: replace(view, layer=str(name)))
    on(panel.group.input, panel.group, lambda view, number: replace(view, group=int(number)))
    on(panel.size.release, panel.size, lambda view, side: replace(view, size=int(side)))


def _connect_clicks(explorer: Explorer, clicked: Panel, panels: tuple[Panel, Panel], compare: gr.Checkbox) -> None:
    """Move the selected pixel of both views on a click."""

    def click(view: View, first: View, second: View, compared: bool, event: gr.SelectData) -> Updates:
        (x, y), (width, height) = event.index, shown_size(view.image.pixels)
        place = (x + 0.5) / width, (y + 0.5) / height
        left, right = panels
        moved = replace(second, place=place)
        hidden = {right.view: moved}  # the second view is drawn only if it is visible
        return {
            **_update(explorer, left, lambda: replace(first, place=place)),
            **(_update(explorer, right, lambda: moved) if compared else hidden),
        }

    clicked.heat.select(
        click,
        [clicked.view, panels[0].view, panels[1].view, compare],
        [*panels[0].outputs, *panels[1].outputs],
        show_progress="hidden",
        trigger_mode="always_last",
        **HIDDEN,
    )

    def choose(picture: str) -> Callable[[View, gr.SelectData], Updates]:
        def update(view: View, event: gr.SelectData) -> Updates:
            return _update(explorer, clicked, lambda: chosen_at(explorer, view, picture, *event.index))

        return update

    sheets = {"kernels": clicked.kernels, "groups": clicked.groups_sheet, "layers": clicked.layers_sheet}
    for picture, component in sheets.items():
        component.select(choose(picture), clicked.view, clicked.outputs, show_progress="hidden", **HIDDEN)


def _fitting(explorer: Explorer, view: View) -> View:
    """Return the view with a sample that fits the network."""
    return replace(view, image=explorer.fitting(view.source, view.image))


def _names(explorer: Explorer, shown: Shown) -> tuple[str, str]:
    """Return the displayed names of network and image."""
    view = shown.view
    networks = (name for name, source in explorer.sources.items() if source == view.source)
    images = (name for name, image in explorer.images.items() if image.key == view.image.key)
    return next(networks, OWN_CHECKPOINT), next(images, OWN_IMAGE)


def _update(explorer: Explorer, panel: Panel, change: Callable[[], View]) -> Updates:
    """Return the new values of a panel's components; on a wrong input, the message only."""
    try:
        shown = show(explorer, change())
    except ValueError as error:
        return {panel.message: f"<p>{html.escape(str(error))}</p>"}
    view = shown.view
    end = f"{shown.end:.2g}"
    network, image = _names(explorer, shown)
    own = network == OWN_CHECKPOINT or image == OWN_IMAGE
    address = "" if own else f'; <a href="{html.escape(link(network, image, view))}">link to this view</a>'
    facts = html.escape(shown.facts) + address
    legend = f'<div class="legend">−{end}<i></i>{end}</div><small>{facts}</small>'
    return {
        panel.view: view,
        panel.message: "",
        panel.network: network,
        panel.sample: image,
        panel.layer: gr.Dropdown(choices=shown.layers, value=view.layer),
        panel.group: gr.Dropdown(choices=list(range(shown.groups)), value=view.group),
        panel.size: view.size,
        panel.heat: _file(panel.heat, shown.heat),
        panel.legend: legend,
        panel.layers_sheet: _file(panel.layers_sheet, shown.layer_thumbnails),
        panel.groups_sheet: _file(panel.groups_sheet, shown.group_thumbnails),
        panel.kernels: _file(panel.kernels, shown.kernels),
        panel.window: _file(panel.window, shown.window),
        panel.classes: gr.Label(dict(shown.classes) or None, visible=bool(shown.classes)),
    }


def _file(component: gr.Image, picture: Picture) -> str | None:
    """Return the path of a picture in the cache of the page.

    `gr.Image` writes arrays itself, but over the file of an equal picture, which a browser may be reading.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder, "image.png")
        Image.fromarray(picture).save(path)
        return component.move_resource_to_block_cache(path)
