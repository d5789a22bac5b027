"""The training room: configuration, run directory, checkpoints, loop, progress."""
