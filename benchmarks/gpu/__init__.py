"""The programs for GPUs: bytes, multiply-adds, instruction counts of the machine code, and a check of their values."""
