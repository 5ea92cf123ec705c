"""The ``vrxmpp`` command."""
