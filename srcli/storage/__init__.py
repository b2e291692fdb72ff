"""Files: atomic writes, places on this machine and in remote stores, hashes, and the cache folder."""
