"""What factorises is one-dimensional: polynomial densities on the line, and grids for them."""
