# SPDX-License-Identifier: Apache-2.0
"""A saga that is killed at every one of its points: its process, then the daemon, then both.

Each run stops at a point of its own and says so in a file; then it is killed there. Afterwards it must
end once, with the right result; each step's command must have run once, or, where the kill hit
between the command and its record, twice; and the history from before the kill must be a prefix, byte
for byte, of the one after.
"""

import itertools
import os
import signal

import workflows
from harness import MountCase, wait_until
from workflows import kill_workflow, result, start, workflow

STEPS = ("reserve", "charge", "ship", "notify")

# input: the directory of the test's notes, and the point to stop at.
SCRIPT = r"""
read -r notes stop
point() {
	if [ "$1" = "$stop" ] && mkdir "$notes/stopped" 2>/dev/null; then sleep 1000; fi
}
export notes stop
for step in reserve charge ship notify; do
	point "before $step"
	got=$(aionfs step "$step" -- "$PWD/bin/effect" "$step") || exit
	[ "$got" = "did $step" ] || exit 100
	point "after $step"
done
point "the end"
echo "all done"
"""

EFFECT = r"""#!/bin/sh
point() {
	if [ "$1" = "$stop" ] && mkdir "$notes/stopped" 2>/dev/null; then sleep 1000; fi
}
point "in $1"
echo "$1" >>"$notes/ledger"
point "done $1"
echo "did $1"
"""

POINTS = [f"{place} {step}" for step, place in
          itertools.product(STEPS, ("before", "in", "done", "after"))] + ["the end"]


class KilledSaga(MountCase):
    def setUp(self):
        super().setUp()
        self.m = self.mount(options="max_attempts_running=64")
        self.m.deploy(workflow(SCRIPT, "saga", {"bin/effect": workflows.Executable(EFFECT.encode())}))
        self.notes = self.scratch()

    def stop_everywhere(self):
        """Starts a run for each point and waits until each has stopped there."""
        for number, point in enumerate(POINTS):
            (self.notes / str(number)).mkdir()
            start(self.m, "saga", f"saga-{number}", f"{self.notes}/{number} {point}\n")
        for number, point in enumerate(POINTS):
            wait_until((self.notes / str(number) / "stopped").exists, f"run {number} at {point}")
        return [workflows.history_bytes(self.m, f"saga-{number}") for number in range(len(POINTS))]

    def check_all(self, before):
        for number, point in enumerate(POINTS):
            run_id = f"saga-{number}"
            with self.subTest(point=point):
                self.assertEqual(result(self.m, run_id), "all done\n")
                after = workflows.history_bytes(self.m, run_id)
                self.assertTrue(after.startswith(before[number]), workflows.explain(self.m, run_id))
                kinds = workflows.events(self.m, run_id)
                self.assertEqual(kinds.count("WorkflowCompleted"), 1)
                self.assertEqual(kinds[-1], "WorkflowCompleted")
                self.assertEqual(kinds.count("StepRecorded"), len(STEPS))
                self.assertEqual(kinds.count("AttemptStarted"), 2, workflows.explain(self.m, run_id))
                ledger = (self.notes / str(number) / "ledger").read_text().split()
                expected = [step for step in STEPS
                            for _ in range(2 if point == f"done {step}" else 1)]
                self.assertEqual(ledger, expected)
        self.assertEqual(self.m.status()["runs"]["completed"], len(POINTS))

    def kill_processes(self):
        for number in range(len(POINTS)):
            kill_workflow(self.m, f"saga-{number}")

    def kill_daemon(self):
        holders = [workflows.holder_of(self.m, f"saga-{number}") for number in range(len(POINTS))]
        below = [pid for holder in holders for pid in workflows.descendants(holder)]
        self.m.kill()
        wait_until(lambda: not any(map(workflows.is_alive, holders + below)),
                   "everything of the attempts to be gone with the daemon")
        self.m.start()

    def test_its_process_is_killed(self):
        before = self.stop_everywhere()
        self.kill_processes()
        self.check_all(before)

    def test_the_daemon_is_killed(self):
        before = self.stop_everywhere()
        self.kill_daemon()
        self.check_all(before)

    def test_both_are_killed(self):
        before = self.stop_everywhere()
        self.kill_processes()
        self.kill_daemon()
        for number, history in enumerate(before):
            self.assertTrue(workflows.history_bytes(self.m, f"saga-{number}").startswith(history))
        # Where the process was killed first, its end may have been recorded, and a third attempt begun.
        for number in range(len(POINTS)):
            self.assertEqual(result(self.m, f"saga-{number}"), "all done\n")
            kinds = workflows.events(self.m, f"saga-{number}")
            self.assertEqual(kinds.count("WorkflowCompleted"), 1)
            self.assertEqual(kinds.count("StepRecorded"), len(STEPS))

    def test_the_mount_is_stopped_and_comes_back(self):
        before = self.stop_everywhere()
        os.kill(self.m.pid, signal.SIGTERM)
        self.m.expect_clean_exit()
        self.m.start()
        self.check_all(before)

    def tearDown(self):
        if self.m.is_mounted():
            self.m.umount()
        self.assert_silent_fsck(self.m)
