"""Where in the weights the forget set lives: masks and the ways to find them."""
