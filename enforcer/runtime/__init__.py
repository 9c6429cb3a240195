"""What moves: facts gathered, rows reconciled, records drained, the canary, the threads."""
