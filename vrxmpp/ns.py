"""Every XML namespace this server speaks, one constant each."""

# RFC 6120, RFC 6121
STREAM = "http://etherx.jabber.org/streams"
CLIENT = "jabber:client"
SERVER = "jabber:server"
STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
SESSION = "urn:ietf:params:xml:ns:xmpp-session"
ROSTER = "jabber:iq:roster"
ROSTER_VERSIONING = "urn:xmpp:features:rosterver"
PRE_APPROVAL = "urn:xmpp:features:pre-approval"
XML = "http://www.w3.org/XML/1998/namespace"
XMLNS = "http://www.w3.org/2000/xmlns/"

# XEPs
DATA_FORMS = "jabber:x:data"  # XEP-0004
LAST_ACTIVITY = "jabber:iq:last"  # XEP-0012
DISCO_INFO = "http://jabber.org/protocol/disco#info"  # XEP-0030
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"  # XEP-0030
PRIVATE = "jabber:iq:private"  # XEP-0049
COMMANDS = "http://jabber.org/protocol/commands"  # XEP-0050
OPENPGP_LEGACY = "jabber:x:encrypted"  # XEP-0027
VCARD = "vcard-temp"  # XEP-0054
REGISTER = "jabber:iq:register"  # XEP-0077
REGISTER_FEATURE = "http://jabber.org/features/iq-register"  # XEP-0077
VERSION = "jabber:iq:version"  # XEP-0092
CHAT_STATES = "http://jabber.org/protocol/chatstates"  # XEP-0085
COMPONENT_ACCEPT = "jabber:component:accept"  # XEP-0114
CAPS = "http://jabber.org/protocol/caps"  # XEP-0115
ADMIN = "http://jabber.org/protocol/admin"  # XEP-0133
ADMIN_ANNOUNCE = "http://jabber.org/protocol/admin#announce"  # XEP-0133
SERVER_INFO = "http://jabber.org/network/serverinfo"  # XEP-0157
OFFLINE_MESSAGES = "msgoffline"  # XEP-0160
NICK = "http://jabber.org/protocol/nick"  # XEP-0172
BLOCKING = "urn:xmpp:blocking"  # XEP-0191
BLOCKING_ERRORS = "urn:xmpp:blocking:errors"  # XEP-0191
STREAM_MANAGEMENT = "urn:xmpp:sm:3"  # XEP-0198
PING = "urn:xmpp:ping"  # XEP-0199
TIME = "urn:xmpp:time"  # XEP-0202
DELAY = "urn:xmpp:delay"  # XEP-0203
DIALBACK = "jabber:server:dialback"  # XEP-0220
DIALBACK_FEATURE = "urn:xmpp:features:dialback"  # XEP-0220
BIDI = "urn:xmpp:bidi"  # XEP-0288
BIDI_FEATURE = "urn:xmpp:features:bidi"  # XEP-0288
FORWARD = "urn:xmpp:forward:0"  # XEP-0297
HINTS = "urn:xmpp:hints"  # XEP-0334
PRIVILEGE = "urn:xmpp:privilege:2"  # XEP-0356
STANZA_IDS = "urn:xmpp:sid:0"  # XEP-0359
OPENPGP = "urn:xmpp:openpgp:0"  # XEP-0373
EME = "urn:xmpp:eme:0"  # XEP-0380
OMEMO = ("urn:xmpp:omemo:2", "urn:xmpp:omemo:1", "eu.siacs.conversations.axolotl")  # XEP-0384, the last in use longest
SASL_CHANNEL_BINDING = "urn:xmpp:sasl-cb:0"  # XEP-0440
STREAM_LIMITS = "urn:xmpp:stream-limits:0"  # XEP-0478
DATA_POLICY = "urn:xmpp:data-policy:0"  # XEP-0504


def qname(namespace: str, name: str) -> str:
    """Return the qualified name as the framer writes it: namespace, one space, local name."""
    return f"{namespace} {name}"
