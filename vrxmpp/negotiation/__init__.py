"""Stream features as data, without sockets (RFC 6120 §4.3)."""
