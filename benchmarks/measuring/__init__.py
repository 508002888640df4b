"""Timing, memory measurement and records."""
