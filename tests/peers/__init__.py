"""Other XMPP servers, as Debian packages them, for live tests of federation."""
