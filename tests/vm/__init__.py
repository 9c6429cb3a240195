"""Tests on a stock Debian kernel in a virtual machine, where BPF LSM programs load: ``README.md`` beside this file."""
