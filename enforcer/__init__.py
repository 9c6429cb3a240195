"""The runtime isolation enforcer for Docker hosts."""

__version__ = "0.1.0"
