"""Serve the page to browsers on this machine only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from involution.explore.explorer import Explorer

HOST = "127.0.0.1"
UPLOAD_BYTES = 2**29  # largest checkpoint; the limit of images is lower
SESSIONS = 32  # users whose view is kept


@contextmanager
def serve(explorer: Explorer, port: int | None = None) -> Iterator[str]:
    """Serve the page while the context is open, and yield its address.

    Only the page and uploaded files can be fetched. Uploads are kept in a temporary folder, which is removed at exit.
    No request is sent to other machines. The environment is restored at exit.

    Args:
        port: None takes the first free port from 7860 on.

    Raises:
        OSError: the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="involution-explore-") as folder, _environment(folder):
        import gradio as gr  # reads the environment
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from involution.explore.page import CSS, create_page

        page = create_page(explorer)
        # Against DNS rebinding: refuse requests for other host names.
        ours = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
        sans, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
        _, address, _ = page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=UPLOAD_BYTES,
            allowed_paths=[],
            state_session_capacity=SESSIONS,
            app_kwargs={"middleware": [ours], "docs_url": None, "redoc_url": None, "openapi_url": None},
            theme=gr.themes.Base(font=sans, font_mono=mono),
            css=CSS,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
        )
        try:
            yield address
        finally:
            page.close(verbose=False)


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    """Replace the settings of gradio in the environment, and restore them at exit."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]  # such as GRADIO_ALLOWED_PATHS, which would make folders public
    os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
