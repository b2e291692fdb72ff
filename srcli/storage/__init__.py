"""Files: atomic writes, places on this machine and in remote stores, hashes, the cache folder, and silence."""
