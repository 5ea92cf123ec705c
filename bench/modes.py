"""What the load generator can play: chat, rate, login, presence and idle."""

from __future__ import annotations

import gc
import random
import secrets
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from bench.checks import Lane, Tally
from bench.client import BODY, IQ, MESSAGE, PRESENCE, STATUS, Client
from bench.measure import Snapshot, latencies, pss_kib
from bench.transport import Loop, Stanza, Target

SECOND = 1_000_000_000
PATIENCE = 15.0  # seconds without any progress after which a run is given up
SETTLE = 1.0  # seconds of rest after set-up, and for late duplicates after the last delivery
AT_ONCE = 16  # log-ins under way at a time while a run is set up


class GivenUpError(Exception):
    """The run cannot be finished."""


class Run:
    """One run: its servers and their pids, its loop, its tally, and the time it may take (seconds)."""

    def __init__(self, targets: Sequence[Target], pids: Sequence[int], limit: float) -> None:
        self.targets = targets
        self.pids = pids
        self.loop = Loop()
        self.tally = Tally()
        self.latencies = array("q")
        self._context = targets[0].context()
        self._deadline = time.monotonic() + limit

    def client(self, user: int) -> Client:
        """Begin to log a user in. Users live on the servers by turns, so with two of them pairs are federated."""
        number, server = divmod(user, len(self.targets))
        return Client(self.loop, self.targets[server], self._context, f"u{number}")

    def turn(self, timeout: float = 0.02) -> None:
        """Serve the loop once."""
        self.loop.turn(timeout)
        if time.monotonic() > self._deadline:
            raise GivenUpError("out of time")

    def rest(self, seconds: float) -> None:
        """Serve the loop for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def until(self, done: Callable[[], bool], progress: Callable[[], int]) -> bool:
        """Serve the loop until `done`. Return False when a connection broke or nothing moved for too long."""
        latest, moved = progress(), time.monotonic()
        while not done():
            if self.loop.failures or time.monotonic() - moved > PATIENCE:
                return False
            self.turn()
            if progress() != latest:
                latest, moved = progress(), time.monotonic()
        return True

    def bring_up(self, users: Iterable[int]) -> list[Client]:
        """Log users in and make them available; return their clients."""
        clients: list[Client] = []
        ready: list[Client] = []
        for user in users:
            client = self.client(user)
            clients.append(client)
            client.on_online = partial(_settle_in, client, ready)
            if not self.until(lambda: len(clients) - len(ready) < AT_ONCE, lambda: len(ready)):
                break
        if not self.until(lambda: len(ready) == len(clients), lambda: len(ready)):
            reason = self.loop.failures[0] if self.loop.failures else "the server is silent"
            raise GivenUpError(f"set-up: {len(ready)} of {len(clients)} clients ready: {reason}")
        self.rest(SETTLE)
        gc.collect()
        gc.freeze()  # what is set up stays; the collector need not look at it during the run
        return clients

    def refuse(self, stanza: Stanza) -> None:
        """Count an error the server sent instead of what was expected."""
        if stanza.attributes.get("type") == "error":
            self.tally.refused += 1


def _settle_in(client: Client, ready: list[Client]) -> None:
    """Do what real clients do after log-in; the answer to the last request tells that all of it is done."""

    def answered(stanza: Stanza) -> None:
        if stanza.name == IQ and stanza.attributes.get("id") == "ready":
            ready.append(client)

    client.on_traffic = answered
    client.send(
        "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq><presence/>"
        f"<iq type='get' id='ready' to='{client.target.domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
    )


class Conversation:
    """One user writing to another as clients do: chat state, receipt request, origin-id; about 350 bytes a message."""

    def __init__(self, run: Run, number: int, sender: Client, receiver: Client) -> None:
        self.run = run
        self.closed_loop = False
        self.measuring = False
        self._lane = Lane(run.tally, f"{secrets.token_hex(4)}-{number}")
        self._sender = sender
        self._head = f"<message to='{receiver.jid}' type='chat' xml:lang='en' id='"
        self._id = f"{secrets.token_hex(4)}-{number:04x}-4000-8000-"
        sender.on_traffic = run.refuse
        receiver.on_traffic = self._received

    def send(self, when: int) -> None:
        """Send the next message; its delivery is timed from `when` (nanoseconds)."""
        identity = f"{self._id}{self._lane.sent:012x}"
        body = self._lane.next_body(when)
        self._sender.send(
            f"{self._head}{identity}'><body>{body}</body><active xmlns='http://jabber.org/protocol/chatstates'/>"
            f"<request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='{identity}'/></message>"
        )

    def _received(self, stanza: Stanza) -> None:
        if stanza.name != MESSAGE or stanza.attributes.get("type") == "error":
            self.run.refuse(stanza)
            return
        when = self._lane.arrived(stanza.children.get(BODY, ""))
        if when is None:
            return
        now = self.run.loop.now
        if self.measuring:
            self.run.latencies.append(now - when)
        if self.closed_loop:
            self.send(now)


def _conversations(run: Run, pairs: int) -> list[Conversation]:
    clients = run.bring_up(range(2 * pairs))
    # In every other pair it is the second who writes, so that of two servers each sends as much as it receives.
    return [Conversation(run, n, clients[2 * n + n % 2], clients[2 * n + 1 - n % 2]) for n in range(pairs)]


def _drain(run: Run) -> None:
    """Wait for what is under way, and for duplicates behind it."""
    if run.until(lambda: run.tally.lost == 0, lambda: run.tally.delivered):
        run.rest(SETTLE)


def chat(run: Run, pairs: int, window: int, seconds: float, warm_up: float) -> dict[str, float]:
    """Closed loop of `window` messages a pair; return the figures of `seconds` after `warm_up`."""
    conversations = _conversations(run, pairs)
    for conversation in conversations * window:
        conversation.closed_loop = True
        conversation.send(run.loop.now)
    _play(run, warm_up)
    for conversation in conversations:
        conversation.measuring = True
    start = Snapshot.take(run.pids)
    _play(run, seconds)
    end = Snapshot.take(run.pids)
    for conversation in conversations:
        conversation.measuring = conversation.closed_loop = False
    figures = start.until(end, len(run.latencies)) | latencies(run.latencies)
    _drain(run)
    return figures


def _play(run: Run, seconds: float) -> None:
    """Serve the loop for so long, or until a connection breaks."""
    end = time.monotonic_ns() + int(seconds * SECOND)
    while run.loop.now < end and not run.loop.failures:
        run.turn()


class Schedule:
    """The open loop's clock: `rate` messages a second at random moments (a Poisson process), the same in every run."""

    def __init__(self, run: Run, conversations: list[Conversation], rate: int) -> None:
        self.late = 0
        self._run = run
        self._conversations = conversations
        self._mean = SECOND / rate
        self._random = random.Random(1)
        self._turn = 0
        self._due = time.monotonic_ns()

    def play(self, seconds: float) -> None:
        """Send what falls due in so many seconds. `late` keeps by how much (ns) the generator was ever behind."""
        end = time.monotonic_ns() + int(seconds * SECOND)
        while (now := time.monotonic_ns()) < end and not self._run.loop.failures:
            while self._due <= now:
                self.late = max(self.late, now - self._due)
                self._conversations[self._turn % len(self._conversations)].send(self._due)
                self._turn += 1
                self._due += int(self._random.expovariate(1) * self._mean)
            self._run.turn(max(0, min(self._due, end) - time.monotonic_ns()) / SECOND)


def rate(run: Run, pairs: int, rate: int, seconds: float, warm_up: float) -> dict[str, float]:
    """Open loop of `rate` messages a second over all pairs; return the figures of `seconds` after `warm_up`."""
    conversations = _conversations(run, pairs)
    schedule = Schedule(run, conversations, rate)
    schedule.play(warm_up)
    for conversation in conversations:
        conversation.measuring = True
    schedule.late = 0
    start = Snapshot.take(run.pids)
    schedule.play(seconds)
    end, arrived = Snapshot.take(run.pids), len(run.latencies)
    _drain(run)
    return start.until(end, arrived) | latencies(run.latencies) | {"generator_late_ms": round(schedule.late / 1e6, 3)}


def login(run: Run, number: int, at_once: int, users: int) -> dict[str, float]:
    """Log in `number` times, after once for each user so that the clients know their SCRAM keys."""
    _log_in(run, users, min(at_once, users), users)
    run.rest(SETTLE)
    del run.latencies[:]
    start = Snapshot.take(run.pids)
    _log_in(run, number, at_once, users)
    end = Snapshot.take(run.pids)
    run.tally.sent, run.tally.delivered = number, len(run.latencies)
    return start.until(end, number) | latencies(run.latencies)


def _log_in(run: Run, number: int, at_once: int, users: int) -> None:
    begun = 0
    finished: list[Client] = []

    def begin() -> None:
        nonlocal begun
        client = run.client(begun % users)
        begun += 1
        client.on_online = lambda: finish(client)

    def finish(client: Client) -> None:
        run.latencies.append(run.loop.now - client.started)
        finished.append(client)

    def replace() -> bool:
        """End the sessions that are complete; begin as many new ones."""
        while finished:
            finished.pop().close()
            if begun < number:
                begin()
        return len(run.latencies) == number

    del run.latencies[:]
    for _ in range(min(at_once, number)):
        begin()
    if not run.until(replace, lambda: len(run.latencies)):
        reason = run.loop.failures[0] if run.loop.failures else "the server is silent"
        raise GivenUpError(f"{len(run.latencies)} of {number} log-ins: {reason}")


class Audience:
    """The contacts who see one user's presence, each on a lane of its own."""

    def __init__(self, run: Run, owner: Client, contacts: list[Client]) -> None:
        self.run = run
        self.seen = 0
        self._owner = owner
        self._name = secrets.token_hex(4)
        self._contacts = contacts
        self._subscribed: set[str] = set()
        self._flips_left = 0
        self._awaited: dict[str, int] = {}
        owner.on_traffic = self._approve

    def _approve(self, stanza: Stanza) -> None:
        if stanza.name == PRESENCE and stanza.attributes.get("type") == "subscribe":
            contact = stanza.attributes["from"].partition("/")[0]
            self._owner.send(f"<presence type='subscribed' to='{contact}'/>")

    def _is_owner(self, stanza: Stanza) -> bool:
        return stanza.name == PRESENCE and stanza.attributes.get("from", "").startswith(f"{self._owner.jid}/")

    def subscribe(self) -> None:
        """Subscribe all contacts, through the protocol (RFC 6121 §3.1)."""
        for begun, contact in enumerate(self._contacts):
            contact.on_traffic = partial(self._note_subscription, contact)
            contact.send(f"<presence type='subscribe' to='{self._owner.jid}'/>")
            self._wait_for_subscriptions(begun - AT_ONCE)
        self._wait_for_subscriptions(len(self._contacts))
        self.run.rest(SETTLE)

    def _note_subscription(self, contact: Client, stanza: Stanza) -> None:
        if self._is_owner(stanza):
            self._subscribed.add(contact.jid)

    def _wait_for_subscriptions(self, enough: int) -> None:
        if not self.run.until(lambda: len(self._subscribed) >= enough, lambda: len(self._subscribed)):
            raise GivenUpError(f"only {len(self._subscribed)} of {len(self._contacts)} contacts subscribed")

    def watch(self) -> None:
        """From now on expect every change of presence at every contact."""
        self._lanes = [Lane(self.run.tally, self._name, 40) for _ in self._contacts]
        for contact, lane in zip(self._contacts, self._lanes, strict=True):
            contact.on_traffic = partial(self._saw, lane)

    def flip(self, flips: int, window: int) -> None:
        """Change the presence so many times, `window` at a time, and wait until all contacts have seen it."""
        self._flips_left = flips
        for _ in range(min(flips, window)):
            self._flip()
        self.run.until(lambda: self.run.tally.lost == 0, lambda: self.run.tally.delivered)

    def _flip(self) -> None:
        self._flips_left -= 1
        now = self.run.loop.now
        (status,) = {lane.next_body(now) for lane in self._lanes}
        self._awaited[status] = len(self._lanes)
        show = "away" if self._flips_left % 2 else "dnd"
        self._owner.send(f"<presence><show>{show}</show><status>{status}</status></presence>")

    def _saw(self, lane: Lane, stanza: Stanza) -> None:
        if not self._is_owner(stanza):
            self.run.refuse(stanza)
            return
        status = stanza.children.get(STATUS, "")
        when = lane.arrived(status)
        if when is None:
            return
        self.run.latencies.append(self.run.loop.now - when)
        self._awaited[status] -= 1
        if not self._awaited[status] and self._flips_left:
            self._flip()


def presence(run: Run, contacts: int, flips: int, window: int) -> dict[str, float]:
    """One user changes presence `flips` times before `contacts` subscribers; return the figures of the fan-out."""
    owner, *others = run.bring_up(range(contacts + 1))
    audience = Audience(run, owner, others)
    audience.subscribe()
    audience.watch()
    audience.flip(3, 1)
    del run.latencies[:]
    start = Snapshot.take(run.pids)
    audience.flip(flips, window)
    end = Snapshot.take(run.pids)
    run.rest(SETTLE)
    return start.until(end, len(run.latencies)) | latencies(run.latencies)


def idle(run: Run, number: int, hold: float) -> dict[str, float]:
    """Hold `number` sessions; return the server's memory, in KiB, before and after."""
    run.rest(SETTLE)
    before = pss_kib(run.pids)
    clients = run.bring_up(range(number))
    start = Snapshot.take(run.pids)
    run.rest(hold)
    end = Snapshot.take(run.pids)
    held = pss_kib(run.pids)
    run.tally.sent, run.tally.delivered = number, sum(not client.closed for client in clients)
    figures = start.until(end, 0)
    memory = {"pss_before_kib": before, "pss_held_kib": held, "kib_per_connection": round((held - before) / number, 2)}
    return memory | {name: figures[name] for name in ("server_cpu_percent", "others_cpu_percent")}
