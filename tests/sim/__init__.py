"""The whole system from one seed, in virtual time. See `disk` for what lies beneath it."""
