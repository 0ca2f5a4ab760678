"""Models: load and save them, read them at the scored positions, choose their parameters, generate from them."""
