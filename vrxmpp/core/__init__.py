"""The living room: sessions, accounts, hosts and the router between them (RFC 6120 §10)."""
