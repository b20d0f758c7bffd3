"""Carry what a run finishes to another folder, while it goes on: a process beside it.

The first line of the standard input is the plan (packing.carrying.Carrier); its end is that of the run,
in whatever way that ended. Ends with status 1 where not all that stands has been carried.
"""

import json
import os
import select
import signal
import sys
from contextlib import suppress

LOOK = 1.0  # seconds from one look to the next
AGAIN = 15  # looks that are left out after one that failed


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the run, whose end is the end here
    with suppress(OSError):
        os.nice(10)
    plan = json.loads(sys.stdin.readline())

    from blendmake.errors import BlendmakeError
    from blendmake.packing.carrying import Carrier
    from snakemake_records import SnakemakeRecords

    def failed(error):
        text = f"keep_at: {error}"
        if text != failed.told:
            print(f"\n{text}\n", file=sys.stderr, flush=True)
        failed.told = text

    failed.told = None
    carrier, last, wait = Carrier(plan, SnakemakeRecords()), False, 0
    while not last:
        last = bool(select.select([sys.stdin], [], [], LOOK)[0])
        wait -= 1
        if wait > 0 and not last:
            continue
        try:
            carrier.look(last)
            failed.told = None
        except BlendmakeError as error:
            failed(error)
            wait = AGAIN
    what = f"{carrier.archives} archives written in this run, {carrier.bytes / 2**20:.1f} MB"
    if failed.told:
        print(f"keep_at: not all that stands is at {plan['keep_at']} ({what}).", file=sys.stderr)
        sys.exit(1)
    print(f"keep_at: what stands is at {plan['keep_at']} ({what}).", file=sys.stderr, flush=True)


main()
