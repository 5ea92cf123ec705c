"""One RFC part or XEP per file."""
