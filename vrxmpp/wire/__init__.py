"""Bytes to events and back, without sockets (RFC 6120)."""
