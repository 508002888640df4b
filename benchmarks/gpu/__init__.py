"""The Triton programs: what they must move and multiply, and what their machine code costs."""
