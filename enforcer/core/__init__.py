"""Every decision of the enforcer, pure: no I/O, no clock, no logging, nothing that is not in the standard library."""
