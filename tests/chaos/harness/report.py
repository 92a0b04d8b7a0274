"""What a person reads: what was done to the world, and what every rule found."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator, Sequence

from fluid.clock import now
from tests.chaos.harness.evidence import Evidence
from tests.chaos.harness.verdict import Finding

LINES_SHOWN = 20
WIDTH = 600


Judged = tuple[Evidence, Sequence[Finding]]


def page(judged: Sequence[Judged]) -> str:
    """The report, as Markdown, with a chapter for each seed."""
    broken = sum(not finding.good for _, findings in judged for finding in findings)
    lines = [
        "# Chaos",
        "",
        "A fleet of real processes is broken on purpose while it works. When it has come to rest, the",
        "ledgers that the tasks and the producers have written themselves are compared with the broker's",
        "books. This page is written by `make chaos`.",
        "",
        f"**{f'Rules are broken: {broken}.' if broken else 'Every rule holds.'}**",
        f"{now():%d %B %Y}, {_machine()}.",
        "",
        "A seed decides what is done and when, not how the processes interleave.",
    ]
    for evidence, findings in judged:
        lines += [*_head(evidence), *_what_was_done(evidence), *_rules(findings)]
    return "\n".join(lines) + "\n"


def _machine() -> str:
    system = f"{platform.system()} {platform.machine()}"
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}"


def _head(e: Evidence) -> Iterator[str]:
    yield from ("", f"## Seed {e.asked.seed}", "")
    yield (
        f"{len(e.accepted | e.ticks)} runs accepted and ended within {e.seconds:.0f} s, of which "
        f"{e.asked.seconds:g} s with faults; leases of {e.asked.lease:g} s; {e.broker} with an append-only "
        "file, written out at every answer."
    )
    again = (
        f"python -m tests.chaos --seed {e.asked.seed} --minutes {e.asked.seconds / 60:g} "
        f"--runs {e.asked.runs} --lease {e.asked.lease:g} --broker {e.broker.split()[0]}"
    )
    yield f"Again: `{again}{' --rewinds' if e.asked.rewinds else ''}`."


def _what_was_done(e: Evidence) -> Iterator[str]:
    yield from ("", "| fault | times |", "|---|--:|")
    yield from (f"| {fault} | {count} |" for fault, count in sorted(e.faults.items()))
    yield from ("", "| what happened | times |", "|---|--:|")
    told = Counter(entry.what for entry in e.events)
    yield from (f"| `{what}` announced | {count} |" for what, count in sorted(told.items()))
    yield f"| bodies begun | {sum(map(len, e.attempts.values()))} |"
    yield f"| runs begun more than once | {sum(len(one) > 1 for one in e.attempts.values())} |"
    counted = sum(record.attempt - 1 for record in e.records.values())
    yield f"| failures and losses counted by the broker | {counted} |"


def _rules(findings: Sequence[Finding]) -> Iterator[str]:
    yield from ("", "| rule | found | verdict |", "|---|---|---|")
    for finding in findings:
        verdict = "holds" if finding.good else f"**broken** {len(finding.against)} times"
        yield f"| {finding.rule} | {finding.found} | {verdict} |"
    for finding in findings:
        if not finding.good:
            yield from ("", f"### Broken: {finding.rule}", "", "```text")
            yield from (line[:WIDTH] for line in finding.against[:LINES_SHOWN])
            if len(finding.against) > LINES_SHOWN:
                yield f"... and {len(finding.against) - LINES_SHOWN} more"
            yield "```"
