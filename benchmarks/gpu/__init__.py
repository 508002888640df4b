"""The Triton programs: bytes, multiply-adds, and instruction counts of the machine code."""
