"""The core and whatever else decides: no kernel, no engine, no root."""
