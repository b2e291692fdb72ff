"""Weight files: found on the Hub or on disk, identified, verified and read."""
