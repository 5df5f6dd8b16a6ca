# SPDX-License-Identifier: Apache-2.0
"""What the tests of durable runs share: packages that are workflows, and looks at their runs."""

import json
import os
import pathlib
import signal

import harness
from harness import Executable, make_package, run, wait_until

FINAL = {"completed", "failed", "cancelled", "timed_out"}
QUICK_RETRY = {"max_attempts": 5, "initial_ms": 20, "max_ms": 100}


def workflow(script, manifest="demo", extra=None, interpreter="/bin/sh"):
    """A package whose bin/run is the script. manifest: a type's name or a dict."""
    if isinstance(manifest, str):
        manifest = {"entry_module": manifest, "retry": QUICK_RETRY}
    if harness.SANITIZED and interpreter == "/bin/sh":
        # The leak check of `aionfs step` reads a /proc that is not of its pid namespace.
        script = f"export ASAN_OPTIONS=detect_leaks=0\n{script}"
    files = {"bin/run": Executable(f"#!{interpreter}\n{script}\n".encode())}
    files.update(extra or {})
    return make_package(files, manifest)


def start(m, type_name, run_id, text="", **options):
    """Starts a run with cp, as a user does; it must succeed."""
    source = m.dir / f"input-{run_id}"
    source.write_text(text)
    source.chmod(0o644)
    done = m.cp(source, f"start/{type_name}/{run_id}", **options)
    if done.returncode != 0:
        raise AssertionError(f"starting {run_id} failed: {done.stderr}\n{m.log_text()[-2000:]}")


def path_of(m, run_id, name=""):
    return m.path / "runs" / run_id / name


def status(m, run_id):
    return path_of(m, run_id, "status").read_text().strip()


def history_bytes(m, run_id):
    return path_of(m, run_id, "history").read_bytes()


def history(m, run_id):
    return [json.loads(line) for line in history_bytes(m, run_id).splitlines()]


def events(m, run_id, kind=None):
    """The names of the events, or those of one kind in full."""
    if kind is None:
        return [event["event"] for event in history(m, run_id)]
    return [event for event in history(m, run_id) if event["event"] == kind]


def explain(m, run_id):
    parts = [f"run {run_id}: {status(m, run_id)}"]
    for name in ("history", "error", "log"):
        try:
            parts.append(f"-- {name}\n{path_of(m, run_id, name).read_text()[-3000:]}")
        except OSError as error:
            parts.append(f"-- {name}: {error.strerror}")
    return "\n".join(parts)


def await_status(m, run_id, *wanted):
    try:
        return wait_until(lambda: status(m, run_id) if status(m, run_id) in wanted else None,
                          f"run {run_id} to be {' or '.join(wanted)}", timeout=60)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{explain(m, run_id)}") from None


def result(m, run_id):
    """Waits for the end of a run as a user does, and returns its result; it must have completed."""
    done = run("cat", path_of(m, run_id, "wait/result"))
    if done.returncode != 0:
        raise AssertionError(f"cat wait/result: {done.stderr}\n{explain(m, run_id)}")
    return done.stdout


def holder_of(m, run_id):
    """The pid of the holder of the latest attempt."""
    return events(m, run_id, "AttemptStarted")[-1]["pid"]


def children_of(pid):
    try:
        return [int(word) for word in
                pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid):
    found = []
    for child in children_of(pid):
        found += [child, *descendants(child)]
    return found


def kill_workflow(m, run_id):
    """SIGKILL to the process of the workflow itself, not to its holder."""
    for pid in children_of(holder_of(m, run_id)):
        os.kill(pid, signal.SIGKILL)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def control(m, run_id, text):
    """One command to ctl, with the error of write(2), which is where it is answered."""
    with open(path_of(m, run_id, "ctl"), "wb", buffering=0) as file:
        file.write(text.encode())


def stop(m):
    """Ends the mount with `aionfs stop`, which ends attempts, too (umount would be EBUSY)."""
    harness.aionfs("stop", m.path, check=True)
    m.expect_clean_exit()


def restart(m, options=None):
    stop(m)
    m.start(options)


PROGRAM_DIRECTORY = os.path.dirname(harness.AIONFS)
