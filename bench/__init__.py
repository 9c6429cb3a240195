"""The benches: each measures one thing on this machine and says what it measured."""
