"""Tables of times and memory."""
