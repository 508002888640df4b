"""Serve the page to browsers on this machine, and to nobody else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from involution.explore.explorer import Explorer

HOST = "127.0.0.1"
UPLOAD_BYTES = 2**29  # of a checkpoint; images are held to less
SESSIONS = 32  # users whose view is remembered


@contextmanager
def serve(explorer: Explorer, port: int | None = None) -> Iterator[str]:
    """Serve the page as long as the context lasts, and yield its address.

    Nothing but the page and what its users brought can be fetched; what they brought lies in a folder of its own that
    goes with the context. Nothing is asked of, or reported to, other machines.

    Args:
        port: None is the first that is free from 7860 on.

    Raises:
        OSError: the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="involution-explore-") as folder:
        for name in [name for name in os.environ if name.startswith("GRADIO_")]:
            del os.environ[name]  # such as GRADIO_ALLOWED_PATHS, which would open folders to whoever asks
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
        import gradio as gr  # reads the environment
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from involution.explore.page import CSS, create_page

        page = create_page(explorer)
        # A name that a stranger's server resolves to this machine is not one of ours.
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
