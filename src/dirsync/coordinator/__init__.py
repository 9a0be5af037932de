"""What Server A does: observe, decide, apply, record."""
