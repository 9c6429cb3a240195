"""What an attacker would try; needs root."""
