#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the end-to-end tests: every test_*.py of tests/mount, tests/crash and tests/corpus.

usage: run_mount.py [MODULE...]     a module by its name (test_deploy) or its file

Each module runs in a process and a TMPDIR of its own, two at a time. When one ends, or is ended
because its time is up, its mounts and daemons are removed. The output of a module that failed is
printed whole; the last line is "N passed, N failed, N skipped". Exits 1 if anything failed.
"""

import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TESTS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS / "mount"))
import harness  # noqa: E402

MODULE_SECONDS = 900
AT_ONCE = 2


class CountingResult(unittest.TextTestResult):
    """Counts tests, not subtests: a test with a failed part failed."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.seconds, self.begun = {}, 0.0

    def startTest(self, test):
        self.begun = time.monotonic()
        super().startTest(test)

    def stopTest(self, test):
        self.seconds[test.id()] = round(time.monotonic() - self.begun, 1)
        super().stopTest(test)

    def summary(self):
        def owner(test):
            return getattr(test, "test_case", test).id()
        failed = {owner(test) for test, _ in self.failures + self.errors}
        failed |= {owner(test) for test in self.unexpectedSuccesses}
        skipped = {owner(test): reason for test, reason in self.skipped}
        skipped = {name: reason for name, reason in skipped.items() if name not in failed}
        passed = set(self.seconds) - failed - set(skipped)
        return {"passed": len(passed), "failed": sorted(failed), "skipped": skipped,
                "slowest": sorted(self.seconds.items(), key=lambda item: -item[1])[:3]}


def run_one(module, result_path):
    """The child: runs one module in this process."""
    import faulthandler
    faulthandler.enable()
    # A shell's background job ignores SIGINT, and so would the tools that we interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path.insert(0, str(module.parent))
    suite = unittest.defaultTestLoader.loadTestsFromName(module.stem)
    runner = unittest.TextTestRunner(verbosity=2, resultclass=CountingResult)
    result = runner.run(suite)
    pathlib.Path(result_path).write_text(json.dumps(result.summary()), encoding="utf-8")
    return 0 if result.wasSuccessful() else 1


def remove_leftovers(directory):
    """Ends what a killed module left: the daemons that it noted, and their mounts."""
    harness.unmount_all_below(directory)
    for notes in pathlib.Path(directory).glob("*/pids"):
        for pid in set(notes.read_text(encoding="ascii").split()):
            try:
                ours = os.fsencode(directory) in pathlib.Path("/proc", pid, "cmdline").read_bytes()
                if ours:
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                continue
    harness.unmount_all_below(directory)
    shutil.rmtree(directory, ignore_errors=True)


def run_in_process(module):
    """The parent: runs one module in a process of its own; returns (summary, output)."""
    directory = tempfile.mkdtemp(prefix=f"aionfs-{module.stem}-")
    os.chmod(directory, 0o755)
    result_path, output_path = f"{directory}/result.json", f"{directory}/output"
    timed_out = False
    try:
        with open(output_path, "wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-u", __file__, "--one", str(module), result_path],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=dict(os.environ, TMPDIR=directory, PYTHONDONTWRITEBYTECODE="1"))
            try:
                child.wait(MODULE_SECONDS)
            except subprocess.TimeoutExpired:
                timed_out = True
                child.send_signal(signal.SIGABRT)  # faulthandler says where it hangs
                time.sleep(1)
                child.kill()
                harness.unmount_all_below(directory)
                child.wait()
        output = pathlib.Path(output_path).read_text(encoding="utf-8", errors="replace")
        try:
            summary = json.loads(pathlib.Path(result_path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            why = f"was still running after {MODULE_SECONDS} s and was ended" if timed_out \
                else f"ended with exit code {child.returncode} before its tests were done"
            summary = {"passed": 0, "failed": [f"{module.stem} {why}"], "skipped": {},
                       "slowest": []}
        return summary, output
    finally:
        remove_leftovers(directory)


def find_modules(names):
    everything = sorted(path for folder in ("mount", "crash", "corpus")
                        for path in (TESTS / folder).glob("test_*.py"))
    if not names:
        return everything
    chosen = [path for path in everything
              if {path.stem, path.name, str(path.relative_to(TESTS.parent))} & set(names)
              or str(path) in [os.path.abspath(name) for name in names]]
    if len(chosen) < len(set(names)):
        sys.exit(f"run_mount.py: not all of {', '.join(names)} are test modules; there are: "
                 + ", ".join(path.stem for path in everything))
    return chosen


def count_tests(module):
    sys.path.insert(0, str(module.parent))
    return unittest.defaultTestLoader.loadTestsFromName(module.stem).countTestCases()


def main(names):
    modules = find_modules(names)
    reason = harness.why_no_fuse()
    if reason:
        total = sum(count_tests(module) for module in modules)
        print(f"The end-to-end tests did not run: {reason}.\n"
              "They need a machine (or a container with --device /dev/fuse --cap-add SYS_ADMIN) "
              "that has FUSE.")
        print(f"0 passed, 0 failed, {total} skipped")
        return 0
    if not os.access(harness.AIONFS, os.X_OK):
        print(f"There is no program at {harness.AIONFS}: build it first, or say where it is with "
              "AIONFS=PATH.")
        print("0 passed, 1 failed, 0 skipped")
        return 1
    print(f"{len(modules)} modules against {harness.AIONFS}", flush=True)
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        begun = time.monotonic()
        jobs = {pool.submit(run_in_process, module): module for module in modules}
        for job in concurrent.futures.as_completed(jobs):
            module, (summary, output) = jobs[job], job.result()
            skipped = summary["skipped"]
            totals["passed"] += summary["passed"]
            totals["failed"] += len(summary["failed"])
            totals["skipped"] += len(skipped)
            if summary["failed"]:
                print(f"======== {module.stem}\n{output}\n======== end of {module.stem}")
            slowest = ", ".join(f"{name.rsplit('.', 1)[-1]} {seconds} s"
                                for name, seconds in summary["slowest"])
            print(f"{time.monotonic() - begun:5.0f} s  {module.stem}: {summary['passed']} passed, "
                  f"{len(summary['failed'])} failed, {len(skipped)} skipped  (slowest: {slowest})",
                  flush=True)
            for name, why in sorted(skipped.items()):
                print(f"         skipped {name}: {why}")
            for name in summary["failed"]:
                print(f"         FAILED {name}", flush=True)
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.exit(run_one(pathlib.Path(sys.argv[2]), sys.argv[3]))
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
