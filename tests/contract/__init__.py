"""The C and the Python say the same: layouts, enums, the decision."""
