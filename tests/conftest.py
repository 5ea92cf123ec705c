"""What all tests share: hypothesis does not look at the clock, as the machine may be busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("vrxmpp", deadline=None)
settings.load_profile("vrxmpp")
