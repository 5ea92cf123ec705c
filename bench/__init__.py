"""The bench: vrxmpp, Prosody and ejabberd under the same load on the same machine. README.md says how to read it."""
