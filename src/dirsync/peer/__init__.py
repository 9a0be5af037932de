"""What Server B does: serve its replica to Server A."""
