"""Kill sweeps: a server is killed at every call that changes a file, and nothing may be lost. See `__main__`."""
