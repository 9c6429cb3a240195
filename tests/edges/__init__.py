"""What the enforcer asks of its neighbours, against recorded answers and against real ones."""
