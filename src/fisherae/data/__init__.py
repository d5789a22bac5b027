"""Images as uint8 in memory, from wherever they lie, and how they reach the training loop."""
