#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the unit tests in meson's log, one Criterion program a line of JSON; prints the totals.

usage: unit-totals.py BUILD/meson-logs/testlog.json

Criterion closes with "Synthesis: Tested: 9 | Passing: 8 | Failing: 1 | Crashing: 0". A program that
printed no such line counts as one test. Tests that Criterion skips are counted and named.
"""

import json
import re
import sys

SYNTHESIS = re.compile(r"Tested: .*?(\d+).*?Passing: .*?(\d+).*?Failing: .*?(\d+)"
                       r".*?Crashing: .*?(\d+)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SKIPPED = re.compile(r"^.*\[SKIP\].*$", re.MULTILINE)


def count(program):
    text = COLOUR.sub("", program.get("stdout", "") + program.get("stderr", ""))
    result = program["result"]
    skips = SKIPPED.findall(text)
    for line in skips:
        print(f"skipped in {program['name']}: {line.strip()}")
    found = SYNTHESIS.search(text)
    if not found:
        if result == "SKIP":
            reason = text.strip().splitlines()[-1:] or ["it said no reason"]
            print(f"skipped {program['name']}: {reason[0]}")
            return 0, 0, 1
        return (1, 0, 0) if result == "OK" else (0, 1, 0)
    _, passing, failing, crashing = map(int, found.groups())
    bad = failing + crashing
    if result != "OK" and bad == 0:
        bad = 1  # a sanitizer's report at the end, say
    return passing, bad, len(skips)


def main(path):
    totals = [0, 0, 0]
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            for line in log:
                totals = [a + b for a, b in zip(totals, count(json.loads(line)))]
    except FileNotFoundError:
        print(f"the unit tests did not run: there is no {path}")
        totals = [0, 1, 0]
    print("{} passed, {} failed, {} skipped".format(*totals))


if __name__ == "__main__":
    main(sys.argv[1])
