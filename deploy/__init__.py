"""What a host needs around the enforcer: alert rules, and a demonstration of the whole."""
