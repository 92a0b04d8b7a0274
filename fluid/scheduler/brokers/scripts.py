"""Every move of the broker: one Lua script each, declared here with its keys and arguments.

The declaration is what a script is called with; the script's header says the same for its reader,
and a test holds the two together. Keys reach a script as `K.<name>`, arguments as `A.<name>`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from fluid.scheduler.brokers.keys import LETTERS, STREAM_CODES, Keys

_FAMILIES = {
    "STREAMS": tuple(f"stream_{code}" for code in STREAM_CODES),
    "SCHEDULED": tuple(f"scheduled_{letter}" for letter in LETTERS),
    "HELD": tuple(f"held_{letter}" for letter in LETTERS),
    "DEAD": tuple(f"dead_{letter}" for letter in LETTERS),
}
_FOLDER = files("fluid.scheduler.brokers") / "lua"


def _text(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


_STATEMENT = re.compile(r"^local (?:function )?(\w+).*?(?=^(?:local|--)|\Z)", re.MULTILINE | re.DOTALL)
"""One statement of the prelude, and what it names; no line within one begins as the next one does."""


def _what_it_uses(move: str) -> str:
    """Of the prelude, what this move calls, directly or not: the server makes it anew for every call."""
    statements = {found[1]: found[0] for found in _STATEMENT.finditer(_text("prelude"))}
    used, looked_at = "", move
    for name, statement in reversed(statements.items()):
        if re.search(rf"\b{name}\b", looked_at):
            used = statement + used
            looked_at += statement
    return used


WHEN_FULL = "allow-oom"
"""Also on a server whose memory is full: what keeps runs, moves them or ends them has to pass."""
WHEN_ROOM = ""
"""Only on a server that has room: what brings new runs."""
ONLY_READS = "no-writes"
"""Also on one that takes no writes, such as a replica."""


@dataclass(frozen=True, slots=True)
class Script:
    """One move: its name, the keys and arguments it is called with, and the list that may follow them."""

    name: str
    keys: tuple[str, ...]
    argv: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    """The arguments of one item of the list; empty when no list follows."""
    flags: str = WHEN_FULL
    """The server's own words for when the script may run; it is asked before the first line of it runs."""
    key_names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The keys, families spelt out."""
    source: str = field(init=False, repr=False, compare=False)
    sha: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = tuple(name for key in self.keys for name in _FAMILIES.get(key, (key,)))
        object.__setattr__(self, "key_names", names)
        object.__setattr__(self, "source", self._source())
        object.__setattr__(self, "sha", hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest())

    def _source(self) -> str:
        keys = ", ".join(f"{name} = KEYS[{n}]" for n, name in enumerate(self.key_names, 1))
        arguments = ", ".join(f"{name} = ARGV[{n}]" for n, name in enumerate(self.argv, 1))
        codes = ", ".join(f"'{code}'" for code in STREAM_CODES)
        head = (
            f"#!lua flags={self.flags}\nlocal K = {{{keys}}}\nlocal A = {{{arguments}}}\n"
            f"local REST = {len(self.argv)}\nlocal CODES = {{{codes}}}\n"
        )
        move = _text(self.name)
        return head + _what_it_uses(move) + move

    def command(
        self, keys: Keys, arguments: Sequence[bytes | str | int | float]
    ) -> tuple[bytes | str | int | float, ...]:
        """The words that call this script by its hash."""
        names = self.key_names
        return ("EVALSHA", self.sha, len(names), *keys.all_of(names), *arguments)


_ENQUEUE_TO = (
    "stream_rh",
    "stream_rm",
    "stream_rl",
    "scheduled_h",
    "scheduled_m",
    "scheduled_l",
    "bell",
    "books",
)

_LET_GO_TO = ("stream_bh", "stream_bm", "stream_bl", "stream_sh", "stream_sm", "stream_sl")

OPEN = Script("open", ("STREAMS",))
ENQUEUE = Script(
    "enqueue",
    (*_ENQUEUE_TO, "unique", "flush", "run"),
    ("producer", "nonce", "again", "keep", "count", "replays"),
    ("id", "task", "priority", "version", "deliveries", "unique", "group", "due", "message"),
    flags=WHEN_ROOM,
)
CLAIM = Script(
    "claim",
    (
        "STREAMS",
        "SCHEDULED",
        "HELD",
        "bell",
        "books",
        "leases",
        "claims",
        "consumers",
        "seen",
        "limits",
        "paused",
        "running",
        "rate",
        "cancelled",
        "run",
    ),
    ("consumer", "nonce", "slots", "lease", "suspects", "version", "cursor", "awake"),
    ("held task",),
)
SETTLE = Script(
    "settle",
    (
        "STREAMS",
        "SCHEDULED",
        "HELD",
        "DEAD",
        "bell",
        "books",
        "leases",
        "limits",
        "running",
        "consumers",
        "failed",
        "unique",
        "cancelled",
        "waited",
        "reporting",
        "settled",
        "done",
        "run",
    ),
    ("caller", "nonce", "again", "keep", "count", "bound"),
    ("code", "entry", "id", "kind", "reason", "delay", "ttl", "unique", "outcome"),
)
RENEW = Script(
    "renew", ("leases", "consumers", "seen", "cancelled"), ("consumer", "lease", "about"), ("token", "id")
)
RESCUE = Script(
    "rescue",
    (
        "STREAMS",
        "SCHEDULED",
        "HELD",
        "DEAD",
        "bell",
        "books",
        "leases",
        "limits",
        "running",
        "unique",
        "cancelled",
        "waited",
        "upkeep",
        "done",
        "run",
    ),
    ("nonce", "interval", "silence", "count", "max_deliveries", "ttl"),
)
SNAPSHOT = Script(
    "snapshot", ("STREAMS", "SCHEDULED", "HELD", "DEAD", "books", "claims", "paused"), flags=ONLY_READS
)
FIRE = Script(
    "fire",
    (*_ENQUEUE_TO, "schedules", "unique", "run"),
    (
        "task",
        "fingerprint",
        "tick",
        "nonce",
        "id",
        "priority",
        "version",
        "deliveries",
        "unique",
        "group",
        "message",
    ),
    flags=WHEN_ROOM,
)
SHOW = Script("show", ("STREAMS", "leases", "waited", "run"), ("id", "wait"))
CANCEL = Script(
    "cancel",
    (
        "STREAMS",
        "SCHEDULED",
        "HELD",
        "DEAD",
        "bell",
        "books",
        "leases",
        "limits",
        "running",
        "unique",
        "cancelled",
        "waited",
        "done",
        "run",
    ),
    ("nonce", "only", "reason", "ttl"),
    ("id",),
)
LIMIT = Script(
    "limit",
    (*_LET_GO_TO, "HELD", "bell", "limits", "running", "run"),
    (),
    ("task", "most", "count", "period"),
)
REPLAY = Script("replay", ("STREAMS", "DEAD", "bell", "books", "unique", "run"), ("nonce",), ("id",))
HASTEN = Script("hasten", ("SCHEDULED", "bell", "run"), (), ("id",))
PAUSE = Script("pause", ("bell", "claims"), ("on",))
PAUSE_TASK = Script("pause_task", (*_LET_GO_TO, "HELD", "bell", "paused", "run"), ("task", "on"))
LIST = Script(
    "list",
    ("STREAMS", "SCHEDULED", "HELD", "DEAD", "leases", "failed", "run"),
    ("name", "state", "first", "last", "task", "reason", "since", "till", "looks", "most"),
    flags=ONLY_READS,
)
PROGRESS = Script("progress", ("reporting", "run"), ("id", "report"))
STOP_CLAIMING = Script("stop_claiming", ("claims",), ("consumer",))
TELL = Script("tell", ("events", "told"), ("teller", "keep", "first"), ("event",))
NOTE = Script("note", ("notes",), ("name", "before", "version", "ttl", "most", "value"))
LEAVE = Script("leave", ("STREAMS", "consumers", "seen", "claims"), ("consumer",))
TIDY = Script(
    "tidy",
    (
        *("STREAMS", "HELD", "DEAD", "consumers", "seen", "claims"),
        *("failed", "unique", "cancelled", "waited", "reporting", "upkeep", "done", "run"),
    ),
    ("interval", "silence", "waiting", "evidence"),
)
SWEEP = Script(
    "sweep",
    ("STREAMS", "SCHEDULED", "HELD", "DEAD", "leases", "books", "cancelled", "upkeep", "run"),
    ("interval", "looks", "ttl"),
)

SCRIPTS = (
    OPEN,
    ENQUEUE,
    CLAIM,
    SETTLE,
    RENEW,
    RESCUE,
    SNAPSHOT,
    FIRE,
    SHOW,
    CANCEL,
    LIMIT,
    REPLAY,
    HASTEN,
    PAUSE,
    PAUSE_TASK,
    LIST,
    PROGRESS,
    STOP_CLAIMING,
    TELL,
    NOTE,
    LEAVE,
    TIDY,
    SWEEP,
)
