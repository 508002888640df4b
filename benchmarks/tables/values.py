"""Figures in sentences, by the name between their marks."""

from __future__ import annotations

from collections.abc import Callable

VALUES: dict[str, Callable[[], str]] = {}
