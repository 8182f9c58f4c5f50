"""What everything stands on: errors, the shape legend, warnings, stateless randomness, safe writing of files."""
