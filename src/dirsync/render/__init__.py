"""Events, listings and statuses as text or JSON."""
