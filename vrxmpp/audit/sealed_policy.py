"""How the policy of the archive lies in its database: sealed, and with a hash that another root key leaves as it is."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from os import urandom

from vrxmpp.audit.keys import rewrap
from vrxmpp.audit.policy import Policy
from vrxmpp.audit.seal import KEY_BYTES, unwrap, wrap

_POLICY = "policy"  # sealed under a key of its own,
_KEY = "policy_key"  # which is wrapped under the policy key


def policy_key(root: bytes) -> bytes:
    """Return the key under which the policy is sealed."""
    return hmac.digest(root, b"vrxmpp policy", "sha256")


def seal_policy(policy: Policy, root: bytes) -> dict[str, bytes]:
    """Return what is stored, by its name in the table of state."""
    key = urandom(KEY_BYTES)
    text = json.dumps(policy.to_json()).encode()
    return {_POLICY: wrap(key, text, _POLICY.encode()), _KEY: wrap(policy_key(root), key, _KEY.encode())}


def open_policy(state: Mapping[str, bytes], root: bytes) -> Policy:
    """Return what was stored. Raises SealError, PolicyError; KeyError if it is not there."""
    key = unwrap(policy_key(root), state[_KEY], _KEY.encode())
    return Policy.from_json(json.loads(unwrap(key, state[_POLICY], _POLICY.encode())))


def hash_policy(state: Mapping[str, bytes]) -> str:
    """Return what a record says of the policy. KeyError if it is not there."""
    return hashlib.sha256(state[_POLICY]).hexdigest()


def rewrap_policy(state: Mapping[str, bytes], old: bytes, new: bytes) -> dict[str, bytes]:
    """Return what changes in the table of state with the root key, even if it has changed already. SealError."""
    if _KEY not in state:
        return {}
    return {_KEY: rewrap(policy_key(old), policy_key(new), state[_KEY], _KEY.encode())}
