"""Pictures in docs/images, drawn from the records."""
