"""The outside world, one module for each neighbour; each takes its root or client as an argument and raises our errors."""
