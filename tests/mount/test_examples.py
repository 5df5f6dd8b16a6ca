# SPDX-License-Identifier: Apache-2.0
"""The examples as they stand: packed by aionfs, deployed with cp, and run."""

import json
import os
import re
import time

from harness import ROOT, MountCase, aionfs, run, wait_until
from workflows import await_status, control, events, kill_workflow, path_of, result, start


class ExampleCase(MountCase):
    def deploy_example(self, m, name):
        archive = m.dir / f"{name}.tar"
        aionfs("pack", ROOT / "examples" / name, "-o", archive, check=True)
        receipt = m.deploy(archive)
        self.assertEqual(receipt["type"], name)
        return receipt["version"]


class Packages(ExampleCase):
    def test_each_is_a_package_with_a_readme(self):
        m = self.mount()
        names = sorted(os.listdir(ROOT / "examples"))
        self.assertEqual(names, ["approval", "nightly", "order", "saga"])
        for name in names:
            version = self.deploy_example(m, name)
            self.assertEqual(aionfs("hash", ROOT / "examples" / name).stdout.split()[0], version)
            self.assertTrue((m.package(name, version) / "README.md").exists())

    def test_order_runs_as_a_workflow_too(self):
        m = self.mount()
        self.deploy_example(m, "order")
        start(m, "order", "1", "2 bread\n1 coffee\n")
        self.assertRegex(result(m, "1"), r"total +14\.35\n$")


class Saga(ExampleCase):
    def setUp(self):
        super().setUp()
        self.ledger = self.scratch() / "ledger"

    def order(self, name):
        return f"order={name}\nitem=tea\nquantity=2\namount=9.00\nledger={self.ledger}\n"

    def lines(self, name):
        try:
            return (self.ledger / name).read_text().splitlines()
        except FileNotFoundError:
            return []

    def begin(self, m, name, refuse=None):
        if refuse:
            self.ledger.mkdir(exist_ok=True)
            with open(self.ledger / "refuse", "a", encoding="ascii") as file:
                file.write(f"{refuse} {name} it is not wanted\n")
        start(m, "saga", name, self.order(name))

    def test_an_order_is_fulfilled(self):
        m = self.mount()
        self.deploy_example(m, "saga")
        self.begin(m, "A-1")
        done = json.loads(result(m, "A-1"))
        self.assertEqual((done["order"], done["status"]), ("A-1", "fulfilled"))
        for effect, key in (("reserve", "reservation"), ("charge", "charge"), ("ship", "shipment")):
            line, = self.lines(effect)
            self.assertEqual(line.split()[:3], [f"A-1-{effect}", done[key], "A-1"])
        self.assertEqual(len(self.lines("calls")), 3)
        start(m, "saga", "A-1", self.order("A-1"))
        self.assertEqual(len(self.lines("calls")), 3, "the same start again is the same run")

    def test_a_refusal_undoes_what_was_done(self):
        m = self.mount()
        self.deploy_example(m, "saga")
        undone = {"reserve": [], "charge": ["release"], "ship": ["refund", "release"]}
        for refused, expected in undone.items():
            name = f"no-{refused}"
            self.begin(m, name, refuse=refused)
            await_status(m, name, "failed")
            self.assertEqual(len(events(m, name, "AttemptStarted")), 1)
            error = path_of(m, name, "error").read_text()
            self.assertIn(f"order {name} cannot be fulfilled: refused: it is not wanted", error)
            calls = [line.split()[0] for line in self.lines("calls") if line.split()[2] == name]
            done = ["reserve", "charge", "ship"]
            self.assertEqual(calls, done[:done.index(refused) + 1] + expected)
            self.assertEqual([line for line in self.lines(refused) if name in line], [])

    def test_trouble_is_tried_again(self):
        m = self.mount()
        self.deploy_example(m, "saga")
        self.ledger.mkdir()
        (self.ledger / "break").write_text("ship A-1\n")
        self.begin(m, "A-1")
        wait_until(lambda: len(events(m, "A-1", "AttemptEnded")) >= 2, "two attempts to fail")
        (self.ledger / "break").unlink()
        self.assertEqual(json.loads(result(m, "A-1"))["status"], "fulfilled")
        self.assertEqual([len(self.lines(name)) for name in ("reserve", "charge", "ship")],
                         [1, 1, 1])
        self.assertGreaterEqual(len([x for x in self.lines("calls") if x.startswith("ship")]), 3)

    def hold_break(self):
        """A writer's end of the fifo, once somebody reads it: it reads until this is closed."""
        try:
            return os.open(self.ledger / "break", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    def test_an_effect_whose_record_was_lost_is_had_once(self):
        """The command is done, its attempt dies before the record: it runs again, and finds that."""
        m = self.mount()
        self.deploy_example(m, "saga")
        self.ledger.mkdir()
        os.mkfifo(self.ledger / "break")  # holds the first command up when it looks
        start(m, "saga", "A-1", self.order("A-1"))
        held = wait_until(self.hold_break, "the first command to look")
        (self.ledger / "reserve").write_text("A-1-reserve reserve-0 A-1 tea 2\n")
        os.unlink(self.ledger / "break")
        kill_workflow(m, "A-1")
        os.close(held)
        self.assertEqual(json.loads(result(m, "A-1"))["reservation"], "reserve-0")
        self.assertEqual(self.lines("reserve"), ["A-1-reserve reserve-0 A-1 tea 2"])
        self.assertGreaterEqual(len(self.lines("calls")), 4)

    def test_an_order_that_makes_no_sense(self):
        m = self.mount()
        self.deploy_example(m, "saga")
        for number, text in enumerate(("order=A\n", "order=A\nitem=x y\namount=1\n", "colour=red\n",
                                       "order=A\nitem=x\namount=1\nledger=here\n")):
            start(m, "saga", f"bad{number}", text)
            await_status(m, f"bad{number}", "failed")
            self.assertIn("the order is invalid", path_of(m, f"bad{number}", "error").read_text())
            self.assertEqual(len(events(m, f"bad{number}", "AttemptStarted")), 1)


class Nightly(ExampleCase):
    def test_a_report_at_its_time(self):
        m = self.mount(options="park_after=1")
        self.deploy_example(m, "nightly")
        measured = self.scratch()
        (measured / "file").write_bytes(b"x" * 100000)
        start(m, "nightly", "1",
              json.dumps({"at": "+4", "directories": [str(measured), "/nonexistent"]}))
        await_status(m, "1", "parked")
        report = json.loads(result(m, "1"))
        self.assertGreaterEqual(report["begun"], report["due"])
        sizes = report["directories"][str(measured)]
        self.assertEqual((sizes["files"], sizes["unreadable"]), (1, 0))
        self.assertGreaterEqual(sizes["bytes"], 100000)
        self.assertEqual(report["directories"]["/nonexistent"],
                         {"error": "No such file or directory"})
        self.assertEqual([event["step"] for event in events(m, "1", "StepRecorded")],
                         ["due", "begun", "machine", "directory-0", "directory-1"])
        self.assertEqual(len(events(m, "1", "AttemptStarted")), 2)
        self.assertEqual(len(events(m, "1", "TimerSet")), 1)

    def test_the_time_of_day_is_looked_up_once(self):
        m = self.mount()
        self.deploy_example(m, "nightly")
        now = time.localtime(time.time() + 3600)
        start(m, "nightly", "1", json.dumps({"at": time.strftime("%H:%M", now)}))
        wait_until(lambda: "TimerSet" in events(m, "1"), "the timer")
        due = int(events(m, "1", "TimerSet")[0]["text"][1:])
        self.assertAlmostEqual(due, time.time() + 3600, delta=90)
        m.kill()
        m.start()
        await_status(m, "1", "running")
        time.sleep(0.5)
        self.assertEqual(len(events(m, "1", "TimerSet")), 1)
        self.assertEqual([end["how"] for end in events(m, "1", "AttemptEnded")], ["crashed"])
        control(m, "1", "cancel")

    def test_an_input_that_makes_no_sense(self):
        m = self.mount()
        self.deploy_example(m, "nightly")
        for number, text in enumerate(("{", "[]", '{"at": "noon"}', '{"directories": [1]}')):
            start(m, "nightly", f"bad{number}", text)
            await_status(m, f"bad{number}", "failed")
            self.assertIn("the input is invalid", path_of(m, f"bad{number}", "error").read_text())


class Approval(ExampleCase):
    def begin(self, m, within):
        self.deploy_example(m, "approval")
        self.target = self.scratch() / "motd"
        self.target.write_text("open\n")
        start(m, "approval", "1", f"target={self.target}\ncontent=closed on Friday\n"
                                  f"within={within}\n")
        self.proposal = self.target.with_suffix(".proposal")
        wait_until(self.proposal.exists, "the proposal")

    def test_approved_while_it_was_parked(self):
        m = self.mount(options="park_after=1")
        self.begin(m, "2d")
        self.assertIn(f"echo yes > {path_of(m, '1', 'signals/decision')}",
                      self.proposal.read_text())
        await_status(m, "1", "parked")
        self.assertEqual(sorted(events(m, "1", "AttemptEnded")[0]["waits"]),
                         ["signals/decision", "timers/deadline"])
        path_of(m, "1", "signals/decision").write_text("yes, by Ann\n")
        self.assertEqual(result(m, "1"), "applied: yes, by Ann\n")
        self.assertEqual(self.target.read_text(), "closed on Friday\n")
        self.assertEqual(os.listdir(self.target.parent), ["motd"])

    def test_refused(self):
        m = self.mount()
        self.begin(m, "2d")
        path_of(m, "1", "signals/decision").write_text("no, because\n")
        self.assertEqual(result(m, "1"), "withdrawn: no, because\n")
        self.assertEqual(self.target.read_text(), "open\n")
        self.assertEqual(os.listdir(self.target.parent), ["motd"])

    def test_nobody_decided_in_time(self):
        m = self.mount()
        self.begin(m, "1s")
        self.assertEqual(result(m, "1"), "withdrawn: no, nobody decided in time\n")
        self.assertEqual(self.target.read_text(), "open\n")

    def test_what_was_decided_stays_decided(self):
        """The deadline is over, then the attempt dies, then the approval comes: too late."""
        m = self.mount()
        self.deploy_example(m, "approval")
        folder = self.scratch()
        start(m, "approval", "1", f"target={folder}/motd\ncontent=x\nwithin=1s\n")
        wait_until(lambda: "decide" in [event["step"] for event in
                                        events(m, "1", "StepRecorded")], "the decision")
        try:
            path_of(m, "1", "signals/decision").write_text("yes\n")
            m.kill()
            m.start()
        except OSError:
            pass  # it was finished already
        self.assertEqual(result(m, "1"), "withdrawn: no, nobody decided in time\n")
        self.assertFalse((folder / "motd").exists())


class Texts(MountCase):
    def test_the_readmes_name_what_there_is(self):
        for name in ("saga", "nightly", "approval"):
            text = (ROOT / "examples" / name / "README.md").read_text()
            for program in re.findall(r"`(bin/[a-z]+)`", text):
                self.assertTrue(os.access(ROOT / "examples" / name / program, os.X_OK), program)
        run("sh", "-n", ROOT / "examples/saga/bin/run", check=True)

    def test_the_codes_in_the_troubleshooting_table_exist(self):
        sources = "".join(path.read_text() for folder in ("engine", "fs", "store")
                          for path in (ROOT / folder).glob("*.c"))
        table = (ROOT / "docs/workflows.md").read_text().split("## Troubleshooting")[1]
        codes = [code for line in table.splitlines() if line.startswith("| `")
                 for code in re.findall(r"`([a-z_]+)`", line.split("|")[1])]
        self.assertGreater(len(codes), 20)
        for code in codes:
            self.assertIn(f'"{code}"', sources, code)
