"""The whole key map. No other room holds a key literal.

Every key of a queue starts with the hash tag `{queue}`, so that one queue is one slot of a cluster.

    {q}:stream:<lane><priority>   streams of entries, one group each; the lane is
                                  r ready, b back (returned), s suspect (lost twice), d direct
    {q}:bell                      list of at most one token: something can be claimed
    {q}:books                     hash of totals: accepted, success, failure, aborted, replayed
    {q}:leases                    zset of tokens by expiry; a token is `<stream code>/<entry id>`
    {q}:scheduled:<priority>      zset, all scores 0, of `<due time>\\0<task>\\0<reason>\\0<run id>`
    {q}:dead:<priority>           the same of dead runs, by when they died
    {q}:failed                    the same of failed runs, bounded in number
    {q}:held:<priority>           zset, all scores 0, of `<task>\\0<why>\\0<since>\\0<run id>`
    {q}:limits                    hash of task -> places, starts in a period, the period
    {q}:paused                    set of tasks whose runs are held
    {q}:running:<task>[:<key>]    set of run ids that have one of the places of a limit
    {q}:rate:<task>               list of the last starts of a task that has a rate; expires
    {q}:flush:<producer>          string, what a producer was last answered; expires
    {q}:settled:<consumer>        string, what a consumer was last answered of its outcomes; expires
    {q}:unique                    hash of unique key -> run id
    {q}:cancelled                 set of run ids that are running and shall not
    {q}:waited                    zset of run ids whose end somebody waits for
    {q}:reporting                 zset of run ids that have told their progress, by when
    {q}:claims                    hash of consumer -> nonce and tokens of its last claim; `*paused` pauses
                                  all, `<consumer>*stopping` one
    {q}:consumers, {q}:seen       hash of consumer -> what it is; zset of consumers by last sign of life
    {q}:schedules                 hash of task -> fingerprint, last tick, nonce[:the run in its way]
    {q}:upkeep                    hash of job -> when it was last done, and its answer
    {q}:notes                     hash of small values that the fleet agrees on: version, expiry, value
    {q}:run:<id>                  hash, the record of one run: where it is (`at`), its entry, its
                                  fields while it is in no stream, under what it is `listed`, its
                                  outcome; expires when final. A string `<token> <outcome>` when it
                                  succeeded and nothing else is to be kept
    {q}:done                      pub/sub channel of run ids that ended while somebody waited
    {q}:events                    stream of what processes told, capped; an id is `<instant>-<how many ever>`
    {q}:told:<teller>             string, the number of the last event that a process told; expires

Instants are milliseconds since the epoch by the broker's clock.
"""

from __future__ import annotations

from fluid.scheduler.states import TaskPriority

GROUP = "fluid"
"""The consumer group of every stream."""

PAUSED = "*paused"
"""The field of `claims` that pauses the whole queue; no consumer is named so."""

LETTERS = {"h": TaskPriority.high, "m": TaskPriority.medium, "l": TaskPriority.low}
LANES = {"d": "direct", "s": "suspect", "b": "returned", "r": "ready"}
STREAM_CODES = tuple(lane + letter for letter in LETTERS for lane in LANES)
"""Every stream, in the order in which a claim looks at them."""

_SINGLE = (
    "bell",
    "books",
    "leases",
    "failed",
    "limits",
    "paused",
    "unique",
    "cancelled",
    "waited",
    "reporting",
    "claims",
    "consumers",
    "seen",
    "schedules",
    "upkeep",
    "notes",
    "done",
    "events",
)


_BEGINNINGS = ("run", "running", "rate", "flush", "settled", "told")


class Keys:
    """The keys of one queue, by the names that scripts declare."""

    def __init__(self, queue: str) -> None:
        self.prefix = f"{{{queue}}}:"
        names = {name: name for name in _SINGLE}
        names.update({f"stream_{code}": f"stream:{code}" for code in STREAM_CODES})
        for family in ("scheduled", "held", "dead"):
            names.update({f"{family}_{letter}": f"{family}:{letter}" for letter in LETTERS})
        self._named = {name: self.prefix + rest for name, rest in names.items()}
        self._named |= {name: f"{self.prefix}{name}:" for name in _BEGINNINGS}
        self._groups: dict[tuple[str, ...], tuple[str, ...]] = {}

    def all_of(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The keys that a script calls so, in this order."""
        keys = self._groups.get(names)
        if keys is None:
            keys = self._groups[names] = tuple(self[name] for name in names)
        return keys

    def __getitem__(self, name: str) -> str:
        """The key that scripts call `name`; of some, such as `run`, it is the beginning."""
        return self._named[name]

    def run(self, run_id: str) -> str:
        """The record of a run."""
        return self._named["run"] + run_id

    def permanent(self) -> frozenset[str]:
        """The keys that live as long as the queue does; every other key expires."""
        return frozenset(key for name, key in self._named.items() if name not in _BEGINNINGS)


def priority_letter(priority: TaskPriority) -> str:
    """How a priority is written in stream codes."""
    return priority[0]
