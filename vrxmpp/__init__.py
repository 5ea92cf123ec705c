"""vrxmpp: an XMPP server for institutions, on Twisted."""

__version__ = "0.1.0"
