"""What the short-lived commands say to Server A."""
