"""What everything stands on: errors, the shape legend, stateless randomness, safe writing of files."""
