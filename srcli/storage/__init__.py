"""Files: atomic writes, local and remote places, hashes, the cache folder; silence for noisy libraries."""
