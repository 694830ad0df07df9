"""What runs in a process of its own, also under the Python of `--peers`, without our packages."""
