"""The machine: files, folders, the lock, signals, and text that is safe to show."""
