"""The agent with real containers; needs root."""
