"""Offers the features of one stream and brings requests to them; knows none of them by name (RFC 6120 §4.3)."""

from __future__ import annotations

from collections.abc import Sequence

from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.negotiation.feature import Channel, Feature, Have, Request
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting
from vrxmpp.wire import writer
from vrxmpp.wire.stream import Sign


class Negotiator:
    """The features of one stream, in the order in which they are offered."""

    __slots__ = ("_features",)

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = features

    def offers(self, channel: Channel) -> bytes:
        """Return the <stream:features/> of this moment."""
        return writer.features(*[f.offer(channel) for f in self._features if _is_offered(f, channel.have)])

    def take(self, request: Request, channel: Channel) -> Waiting | None:
        """Bring a request to the feature that answers it; raise StreamError if none does now."""
        name = _name(request)
        if isinstance(request, Stanza):
            channel.move(Sign.STANZA)
        for feature in self._features:
            if name in feature.answers and _is_offered(feature, channel.have):
                return feature.take(request, channel)
        if isinstance(request, Stanza):
            # RFC 6120 §4.9.3.12, §7.1: no stanza before there is a resource.
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        if any(name in feature.answers for feature in self._features):
            raise StreamError(StreamCondition.POLICY_VIOLATION, "not offered now")
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)


def _is_offered(feature: Feature, have: Have) -> bool:
    return feature.needs in have and not (feature.until & have)


def _name(request: Request) -> str:
    if isinstance(request, Stanza):
        # RFC 6120 §8.2.3: a request has an id and one payload.
        asks = request.kind == "iq" and request.type in {"get", "set"} and request.id and len(request.payloads) == 1
        return f"iq {request.payloads[0]}" if asks else ""
    return request.name
