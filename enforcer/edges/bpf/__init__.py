"""The kernel: offsets from BTF, the build in a child, pinned programs, maps and the ring."""
