"""The guide's checks: pure functions from facts to findings. What has to be read or tried is read and tried elsewhere."""
