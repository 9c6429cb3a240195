"""Where events and counts go."""
