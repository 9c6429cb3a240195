"""Real probes in scratch cgroups; needs root."""
