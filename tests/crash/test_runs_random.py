# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments while several threads start, signal and command runs of several types,
and deploy and unload their versions.

After each remount: what was acknowledged is in the histories, every history begins with the bytes
that were read of it before, and nothing of the dead daemon's attempts lives. At the end every run
has ended once, with the right result; its steps took effect as its history says; and nothing is
left over, of logs, descriptors, memory or rows.
"""

import collections
import errno
import json
import os
import pathlib
import random
import re
import signal
import sys
import threading
import time
import traceback

import harness
import workflows
from harness import Executable, MountCase, sha256, wait_until
from workflows import FINAL, history_bytes, path_of, status

CYCLES = int(os.environ.get("AIONFS_RUN_KILLS", "8" if harness.SANITIZED else "30"))
SEED = int(os.environ.get("AIONFS_SEED", "6"))
LIFE_S = (0.2, 6.0) if harness.SANITIZED else (0.1, 2.6)
THREADS = 3
UNFINISHED_MAX = 12  # of one thread

# Each prints its version, so that a run that executed another one than its pin has a wrong result.
EFFECT = """#!/bin/sh
# LEDGER STEP: the effect is a line that names the attempt.
printf '%s\\n' "$2 $AION_ATTEMPT" >>"$1"
echo "did $2"
"""
HEAD = 'set -eu; read -r notes; ledger=$notes/$AION_RUN_ID\n'
TAIL = '\nprintf "%s %s\\n" "$a" "$AION_VERSION"'
SCRIPTS = {
    "steps": """a=$(aionfs step one -- ./bin/effect "$ledger" one)
aionfs step two -- ./bin/effect "$ledger" two >/dev/null
aionfs step three -- ./bin/effect "$ledger" three >/dev/null""",
    "timer": """a=$(aionfs step one -- ./bin/effect "$ledger" one)
aionfs sleep pause "$((1 + $(printf %s "$AION_RUN_ID" | wc -c) % 2))s"
aionfs step two -- ./bin/effect "$ledger" two >/dev/null""",
    "signal": """aionfs step one -- ./bin/effect "$ledger" one >/dev/null
a=$(aionfs wait signal go)""",
    "flaky": """a=$(aionfs step one -- ./bin/effect "$ledger" one)
echo "$AION_ATTEMPT" >>"$ledger.tries"
[ "$(wc -l <"$ledger.tries")" -gt 2 ] || exit 3
aionfs step two -- ./bin/effect "$ledger" two >/dev/null""",
    "refused": """aionfs step one -- ./bin/effect "$ledger" one >/dev/null
[ -e "$ledger.mended" ] || exit 100
a=mended""",
    # What it leaves behind ends with it; the second child is in a session of its own.
    "children": """sleep 1000 & setsid sleep 1000 & (sleep 1000 & sleep 1000) &
a=$(aionfs step one -- ./bin/effect "$ledger" one)
aionfs sleep pause 1s""",
}
ENDS = {"WorkflowCompleted", "WorkflowFailed", "WorkflowCancelled", "WorkflowTimedOut"}
EVENT_OF = {"pause": "RunPaused", "resume": "RunResumed", "cancel": "WorkflowCancelled",
            "retry": "RunReopened"}


def result_of(kind, run_id, version):
    word = {"signal": f"value of {run_id}", "refused": "mended"}.get(kind, "did one")
    return f"{word} {version}\n"


def write_file(path, data):
    """What cp does: the verdict is that of the close. A run's input or a signal."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    try:
        while data:
            data = data[os.write(fd, data):]
    finally:
        os.close(fd)


class Run:
    """What is known about a run. Only its own thread changes it while a mount lives."""

    def __init__(self, run_id, kind, text):
        self.id, self.kind, self.input = run_id, kind, text
        self.is_started = self.is_removed = self.is_final = False
        self.is_removing = False     # rmdir was asked for, and not answered
        self.seen = b""              # of its history
        self.signals = {}            # acknowledged: name -> bytes
        self.told = dict.fromkeys(EVENT_OF, 0)   # acknowledged commands
        self.asked = dict.fromkeys(EVENT_OF, 0)  # those that may have happened


class Worker:
    """A thread's own runs, and what it does to them at random."""

    def __init__(self, number, notes, test):
        self.number, self.notes, self.test = number, notes, test
        self.random = random.Random(SEED * 100 + number)
        self.runs, self.done = [], 0

    def living(self):
        return [run for run in self.runs if run.is_started and not run.is_removed]

    def new_run(self, m):
        kind = self.random.choice(list(SCRIPTS))
        name = f"{kind}-{self.number}-{len(self.runs)}{'x' * self.random.randrange(2)}"
        run = Run(name, kind, f"{self.notes}\n".encode())
        self.runs.append(run)
        self.start(m, run)

    def start(self, m, run):
        if self.random.random() < 0.3:
            draft = m / f"start/{run.kind}/.{run.id}"
            write_file(draft, run.input)
            os.rename(draft, m / f"start/{run.kind}/{run.id}")
        else:
            write_file(m / f"start/{run.kind}/{run.id}", run.input)
        run.is_started = True

    def look(self, m, run):
        """Reads the history: it only ever grows."""
        history = history_bytes(m, run.id)
        if not history.startswith(run.seen):
            raise AssertionError(f"the history of {run.id} was\n{run.seen.decode()}\nand is\n"
                                 f"{history.decode()}")
        run.seen = history
        run.is_final = json.loads(history.splitlines()[-1])["event"] in ENDS

    def signal(self, m, run, name="go"):
        if run.is_final:
            return
        value = f"value of {run.id}\n".encode()
        try:
            write_file(path_of(m, run.id, f"signals/{name}"), value)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            self.look(m, run)
            if not run.is_final:
                raise
            return
        run.signals[name] = value

    def command(self, m, run, word):
        run.asked[word] += 1
        try:
            workflows.control(m, run.id, word)
        except OSError as error:
            if error.errno == errno.EBUSY:  # it is not for this state, and changed nothing
                run.asked[word] -= 1
                return
            raise
        run.told[word] += 1

    def retry(self, m, run):
        if run.kind == "refused":
            (self.notes / f"{run.id}.mended").touch()
        self.command(m, run, "retry")

    def remove(self, m, run):
        run.is_removing = True
        try:
            os.rmdir(m / "runs" / run.id)
            run.is_removed = True
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            run.is_removing = False  # it is not finished

    def act(self, m):
        living = self.living()
        dice = self.random.random()
        unfinished = [run for run in living if not run.is_final]
        if not living or dice < 0.3 and len(unfinished) < UNFINISHED_MAX:
            self.new_run(m)
            return
        run = self.random.choice(unfinished or living)
        if dice < 0.4:
            self.start(m, run)  # once more is a success, and starts nothing
        elif dice < 0.55:
            self.signal(m, run, self.random.choice(("go", "more")))
        elif dice < 0.62:
            self.command(m, run, "pause")
        elif dice < 0.72:
            self.command(m, run, "resume")
        elif dice < 0.74:
            self.command(m, run, "cancel")
        elif dice < 0.79:
            self.retry(m, self.random.choice(living))
        elif dice < 0.82:
            self.remove(m, self.random.choice(living))
        else:
            self.look(m, self.random.choice(living))

    def work(self, m, failures):
        """Until the daemon dies under it."""
        while not m.dying:
            try:
                self.act(m)
            except (OSError, AssertionError, ValueError):
                if not m.dying:
                    failures.append(f"worker {self.number}: {traceback.format_exc()}")
                return
            self.done += 1
            time.sleep(self.random.random() * 0.03)

    def settle(self, m):
        """Compares the remounted truth with what was acknowledged."""
        there = set(os.listdir(m / "runs"))
        for run in self.runs:
            if run.is_removed or not run.is_started and run.id not in there:
                self.test.assertNotIn(run.id, there)
                continue
            if run.is_removing:
                run.is_removed = run.id not in there
                run.is_removing = False
                if run.is_removed:
                    continue
            self.test.assertIn(run.id, there)
            run.is_started = True
            self.look(m, run)
            self.check_acknowledged(run)

    def check_acknowledged(self, run):
        events = [json.loads(line) for line in run.seen.splitlines()]
        self.test.assertEqual(events[0]["input_sha256"], sha256(run.input), run.id)
        delivered = {event["signal"]: event["signal_sha256"] for event in events
                     if event["event"] == "SignalDelivered"}
        for name, value in run.signals.items():
            self.test.assertEqual(delivered.get(name), sha256(value), f"{run.id}: {name}")
        for word, kind in EVENT_OF.items():
            found = sum(event["event"] == kind for event in events)
            self.test.assertTrue(run.told[word] <= found <= run.asked[word],
                                 f"{run.id}: {run.told[word]} of {run.asked[word]} times {word}, "
                                 f"and {found} {kind}")

    def finish(self, m, archives):
        """So that each run can end: as its user would do it."""
        for run in self.living():
            if status(m, run.id) == "stranded":
                version = os.path.basename(os.readlink(path_of(m, run.id, "package")))
                write_file(m / f"stage/{run.kind}.tar.gz", archives[run.kind, version])
            if run.kind == "refused":
                (self.notes / f"{run.id}.mended").touch()
            if status(m, run.id) == "paused":
                self.command(m, run, "resume")
            if run.kind == "signal" and status(m, run.id) not in FINAL:
                self.signal(m, run)
            if status(m, run.id) == "failed":
                self.retry(m, run)


class Deployer:
    """New versions of all types, and the end of old ones."""

    def __init__(self):
        self.random, self.count = random.Random(SEED), 0
        self.archives = {}  # of all versions, by type and version

    def deploy(self, m, kind):
        self.count += 1
        manifest = {"entry_module": kind, "label": str(self.count),
                    "retry": {"max_attempts": 8, "initial_ms": 20, "max_ms": 200}}
        files = {"bin/run": Executable(f"#!/bin/sh\n{HEAD}{SCRIPTS[kind]}{TAIL}\n".encode()),
                 "bin/effect": Executable(EFFECT.encode())}
        archive = harness.make_package(files, manifest)
        self.archives[kind, harness.version_of(files, manifest)] = archive
        write_file(m / "deploy" / f"{kind}.tar.gz", archive)

    def unload(self, m, kind):
        old = self.random.choice(m.versions(kind))
        try:
            os.rmdir(m.package(kind, old))
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOENT):  # routed, or pinned
                raise

    def work(self, m, failures):
        while not m.dying:
            kind = self.random.choice(list(SCRIPTS))
            try:
                (self.deploy if self.random.random() < 0.4 else self.unload)(m, kind)
            except OSError as error:
                if not m.dying:
                    failures.append(f"deployer: {error!r}")
                return
            time.sleep(self.random.random() * 0.2)


def attempts_below(directory):
    """The processes that a workflow of a mount there started, whoever they belong to by now."""
    wanted, found = b"AION_MOUNT=" + os.fsencode(directory), []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and wanted in pathlib.Path("/proc", name, "environ").read_bytes():
                found.append(int(name))
        except OSError:
            continue
    return found


def memory_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class RandomRuns(MountCase):
    def setUp(self):
        super().setUp()
        self.notes = self.scratch()
        self.m = self.mount(options="park_after=1,max_attempts_running=6")
        self.m.dying = False
        self.deployer = Deployer()
        for kind in SCRIPTS:
            self.deployer.deploy(self.m, kind)
        self.workers = [Worker(number, self.notes, self) for number in range(THREADS)]
        self.dice = random.Random(SEED)
        self.descriptors = descriptors(self.m.pid)

    def test_kill_at_any_moment(self):
        for cycle in range(CYCLES):
            self.live_and_die()
            if cycle % 10 == 9:
                self.m.start()
                workflows.stop(self.m)
                self.assert_silent_fsck(self.m)
            self.m.start()
            self.m.dying = False
            for worker in self.workers:
                worker.settle(self.m)
        self.end_all()
        self.check_all()
        self.check_that_much_happened()
        self.check_nothing_is_left()

    def all_runs(self):
        return [run for worker in self.workers for run in worker.living()]

    def live_and_die(self):
        m, failures = self.m, []
        threads = [threading.Thread(target=actor.work, args=(m, failures))
                   for actor in (*self.workers, self.deployer)]
        for thread in threads:
            thread.start()
        time.sleep(self.dice.uniform(*LIFE_S))
        m.dying = True
        os.kill(m.pid, signal.SIGKILL)
        m.wait_exit()
        for thread in threads:
            thread.join(harness.PATIENCE)
            self.assertFalse(thread.is_alive(), "a request outlived the daemon")
        self.assertEqual(failures, [])
        harness.unmount_all_below(m.path)
        wait_until(lambda: not attempts_below(m.path),
                   "everything of the attempts to be gone with the daemon", timeout=20)

    def end_all(self):
        m = self.m

        def all_ended():
            for worker in self.workers:
                worker.finish(m, self.deployer.archives)
            time.sleep(0.2)
            ends = {status(m, run.id) for run in self.all_runs()}
            return ends <= {"completed", "cancelled"}
        try:
            wait_until(all_ended, "every run to end", timeout=120)
        except AssertionError as error:
            stuck = [workflows.explain(m, run.id) for run in self.all_runs()
                     if status(m, run.id) not in FINAL]
            raise AssertionError(f"{error}\n" + "\n".join(stuck[:3])) from None

    def check_all(self):
        for worker in self.workers:
            worker.settle(self.m)
            for run in worker.living():
                with self.subTest(run=run.id):
                    self.check_run(run)

    def check_that_much_happened(self):
        """So that this test does not come to test nothing."""
        events = [json.loads(line) for run in self.all_runs() for line in run.seen.splitlines()]
        ends = collections.Counter(event["how"] for event in events
                                   if event["event"] == "AttemptEnded")
        kinds = collections.Counter(event["event"] for event in events)
        print(f"{self.deployer.count} deploys, attempts {dict(ends)}, events {dict(kinds)}",
              file=sys.stderr)
        for how in ("crashed", "failed", "completed"):
            self.assertGreater(ends[how], CYCLES // 4, how)
        for kind in ("RunPaused", "RunResumed", "SignalDelivered", "TimerFired", "RunReopened"):
            self.assertGreater(kinds[kind], 0, kind)

    def check_run(self, run):
        m = self.m
        events = [json.loads(line) for line in run.seen.splitlines()]
        kinds = [event["event"] for event in events]
        explained = workflows.explain(m, run.id)
        self.assertEqual([event["seq"] for event in events], list(range(1, len(events) + 1)))
        self.assertIn(kinds[-1], ("WorkflowCompleted", "WorkflowCancelled"), explained)
        # It ended once each time that it was opened. Only a finished one can lose its version.
        self.assertEqual(sum(kind in ENDS for kind in kinds), 1 + kinds.count("RunReopened"))
        for place, kind in enumerate(kinds):
            if kind == "RunStranded":
                self.assertIn("RunReopened", kinds[:place], explained)
        self.assertEqual(kinds.count("AttemptStarted"), kinds.count("AttemptEnded"), explained)
        version = events[0]["version"]
        self.assertEqual(os.readlink(path_of(m, run.id, "package")),
                         f"../../packages/{run.kind}/{version}")
        if kinds[-1] == "WorkflowCompleted":
            self.assertEqual(path_of(m, run.id, "result").read_text(),
                             result_of(run.kind, run.id, version), explained)
        self.check_effects(run, events, explained)

    def check_effects(self, run, events, explained):
        """An effect happened in the attempt that recorded it, once, and before that only in attempts
        that ended between the command and the record."""
        recorded = {event["step"]: event["attempt"] for event in events
                    if event["event"] == "StepRecorded"}
        how = {event["attempt"]: event["how"] for event in events
               if event["event"] == "AttemptEnded"}
        ledger = self.notes / run.id
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        self.assertEqual(len(lines), len(set(lines)), f"{lines}\n{explained}")
        effects = [(step, int(attempt)) for step, attempt in map(str.split, lines)]
        for step, attempt in recorded.items():
            self.assertIn((step, attempt), effects, explained)
        for step, attempt in effects:
            if attempt == recorded.get(step):
                continue
            self.assertLess(attempt, recorded.get(step, 1 << 30), explained)
            self.assertIn(how[attempt], ("crashed", "paused", "cancelled", "stopped"), explained)

    def check_nothing_is_left(self):
        m, runs = self.m, self.all_runs()
        self.assertEqual({run.id for run in runs}, set(os.listdir(m / "runs")))
        wait_until(lambda: m.status()["attempts"] == 0, "the last attempt to be collected")
        self.assertEqual(attempts_below(m.path), [])
        self.check_counts()
        wait_until(lambda: descriptors(m.pid) <= self.descriptors,
                   "the daemon to have no more descriptors than at the beginning", timeout=10)
        if not harness.SANITIZED:
            self.assertLess(memory_kib(m.pid), 100 << 10)
        self.assertEqual(os.listdir(m / "quarantine"), [])
        self.assertLessEqual(len(self.logs()), len(runs))
        for run in runs[::2]:
            os.rmdir(m / "runs" / run.id)
        workflows.restart(m)
        self.assertEqual(set(os.listdir(m / "runs")), {run.id for run in runs[1::2]})
        for run in runs[1::2]:
            self.assertEqual(history_bytes(m, run.id), run.seen)
            os.rmdir(m / "runs" / run.id)
        self.assertEqual(self.logs(), set())
        self.check_counts()
        workflows.stop(m)
        self.assert_silent_fsck(m)

    def logs(self):
        return {name.split(".")[0] for name in os.listdir(self.m.state / "logs")}

    def check_counts(self):
        """What runs/, by-status/, each run, status and metrics say is the same."""
        m = self.m
        told = m.status()["runs"]
        found = {name: set(os.listdir(m / "by-status" / name)) for name in told}
        self.assertEqual(told, {name: len(ids) for name, ids in found.items()})
        self.assertEqual({run_id: status(m, run_id) for run_id in os.listdir(m / "runs")},
                         {run_id: name for name, ids in found.items() for run_id in ids})
        for name, count in told.items():
            self.assertIn(f'aionfs_runs{{status="{name}"}} {count}\n',
                          (m / "metrics").read_text())
