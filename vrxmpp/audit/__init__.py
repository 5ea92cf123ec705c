"""The audit archive: an append-only log that is sealed, shows any change, and can still forget."""
