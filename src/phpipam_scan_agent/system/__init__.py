"""The machine: files, folders, the lock, signals, and output without secrets."""
