"""The pictures of docs/images that show recorded figures."""
