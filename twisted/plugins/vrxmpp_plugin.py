"""Makes ``twistd vrxmpp`` known to Twisted."""

from twisted.application.service import ServiceMaker

vrxmpp = ServiceMaker("vrxmpp", "vrxmpp.tap", "An XMPP server for institutions.", "vrxmpp")
