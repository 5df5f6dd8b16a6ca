# SPDX-License-Identifier: Apache-2.0
"""What durable runs cost: the part "runs" of bench.py.

trivial   many runs of a workflow that does nothing, against a shell that executes it and syncs
steps     runs with ten steps each, against the same commands with a file and a sync for each step
sleeping  a hundred thousand parked runs: mounting, memory, listing, how late their timers fire
"""
import concurrent.futures
import json
import os
import statistics
import subprocess
import time

STARTERS = 8


def package(work, name, script):
    """A package whose bin/run is a shell script."""
    tree = os.path.join(work, "trees", f"workflow-{name}")
    os.makedirs(os.path.join(tree, "bin"), exist_ok=True)
    with open(os.path.join(tree, "manifest.json"), "w", encoding="utf-8") as file:
        json.dump({"entry_module": name}, file)
    path = os.path.join(tree, "bin/run")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nset -e\n{script}\n")
    os.chmod(path, 0o755)
    archive = f"{tree}.tar"
    subprocess.run(["tar", "cf", archive, "-C", tree, "."], check=True)
    return archive


def deploy(mount, work, name, script):
    with open(package(work, name, script), "rb") as source, \
            open(mount / f"deploy/{name}.tar", "wb") as target:
        target.write(source.read())
    return os.path.basename(os.readlink(mount / f"routes/{name}"))


def start(mount, name, number):
    with open(mount / f"start/{name}/{name}-{number}", "w", encoding="ascii") as file:
        file.write(f"{number}\n")


def finished(mount):
    return mount.status()["runs"]["completed"]


def run_all(mount, name, count):
    """Starts them and waits for their ends. Returns seconds: until all were started, and ended."""
    begun, before = time.monotonic(), finished(mount)
    with concurrent.futures.ThreadPoolExecutor(STARTERS) as pool:
        list(pool.map(lambda number: start(mount, name, number), range(count)))
    started = time.monotonic() - begun
    while finished(mount) - before < count:
        failed = mount.status()["runs"]["failed"]
        if failed:
            raise RuntimeError(f"{failed} runs failed")
        time.sleep(0.05)
    return started, time.monotonic() - begun


def peer(work, script, count):
    """The same work without an engine: a directory a run, synced files, as many at once as cores."""
    directory = os.path.join(work, "peer")
    os.makedirs(directory, exist_ok=True)

    def one(number):
        own = os.path.join(directory, str(number))
        os.makedirs(own)
        subprocess.run(["sh", "-c", f"set -e; {script}; sync -d result"], cwd=own, check=True,
                       stdin=subprocess.DEVNULL)
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(STARTERS) as pool:
        list(pool.map(one, range(count)))
    took = time.monotonic() - begun
    subprocess.run(["rm", "-rf", directory], check=True)
    return took


def commits(mount):
    return mount.status()["rows"]["commits"]


def tell(what, count, took, peer_count, peer_took):
    ours, theirs = count / took, peer_count / peer_took
    print(f"{what:<44} {ours:>10.0f} /s   {theirs:>10.0f} /s sh and sync            x{theirs / ours:.2f}",
          flush=True)


def bench_trivial(mount, work, count):
    deploy(mount, work, "trivial", "cat >/dev/null; echo done")
    before = commits(mount)
    started, took = run_all(mount, "trivial", count)
    made = commits(mount) - before
    few = max(count // 10, 100)
    tell(f"{count} trivial runs", count, took, few, peer(work, "echo done > result", few))
    # Each run: WorkflowStarted; AttemptStarted; AttemptEnded with WorkflowCompleted.
    print(f"    all started after {started:.1f} s; {3 * count / made:.1f} changes of runs in a durable "
          f"commit; daemon {mount.memory_kib() / 1024:.1f} MiB of own memory", flush=True)


STEPS = 10


def bench_steps(mount, work, count):
    ours = "\n".join(f"aionfs step s{i} -- echo {i} >/dev/null" for i in range(STEPS))
    theirs = "; ".join(f"sh -c 'echo {i}' > .s{i}; sync -d .s{i}; mv .s{i} s{i}; cat s{i} >/dev/null"
                       for i in range(STEPS)) + "; echo done > result"
    deploy(mount, work, "steps", f"cat >/dev/null\n{ours}\necho done")
    before = commits(mount)
    _, took = run_all(mount, "steps", count)
    made = commits(mount) - before
    few = max(count // 10, 20)
    tell(f"{count} runs of {STEPS} steps: steps", count * STEPS, took, few * STEPS,
         peer(work, theirs, few))
    print(f"    {count / took:.0f} runs/s; {count * STEPS / made:.1f} steps in a durable commit "
          f"(of {(STEPS + 3) * count / made:.1f} changes)", flush=True)


def timed(function, *arguments):
    begun = time.monotonic()
    function(*arguments)
    return (time.monotonic() - begun) * 1000


def quietly(words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def lateness(mount, count):
    """How late the timers of a sample of sleepers fired, in ms, from the histories."""
    late = []
    for number in range(0, count, max(count // 200, 1)):
        with open(mount / f"runs/sleeper-{number:06}/history", encoding="utf-8") as file:
            events = [json.loads(line) for line in file]
        fired = [event for event in events if event["event"] == "TimerFired"]
        if fired:
            late.append((parse(fired[0]["at"]) - parse(fired[0]["due"])) * 1000)
    return late


def parse(text):
    import datetime
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def bench_sleeping(mount, work, count, sleepers):
    version = deploy(mount, work, "sleeper", 'cat "$AION_RUN/wait/timers/nap" >/dev/null; echo up')
    mount.umount()
    empty = timed(mount.mount)
    mount.umount()
    # Due while we look: the last one in five minutes, so that the machine is not only waking them.
    subprocess.run([sleepers, mount.state, "sleeper", version, str(count), "20", "300000"], check=True)
    full = timed(mount.mount)
    print(f"mount with {count} parked runs {full:>30.0f} ms   {full - empty:.0f} ms more than without; "
          f"{mount.memory_kib() / 1024:.1f} MiB of own memory", flush=True)
    for what, words in (("ls runs", ["ls", "-f", mount / "runs"]),
                        ("ls by-status/parked", ["ls", "-f", mount / "by-status/parked"]),
                        ("ls by-status/failed", ["ls", mount / "by-status/failed"]),
                        ("cat status", ["cat", mount / "status"]),
                        ("cat metrics", ["cat", mount / "metrics"])):
        took = statistics.median(timed(quietly, words) for _ in range(5))
        print(f"    {what:<40} {took:>10.0f} ms", flush=True)
    time.sleep(40)
    late = sorted(lateness(mount, count // 15))
    if late:
        print(f"    timers fired: {statistics.median(late):.1f} ms late at the median, "
              f"{late[len(late) * 99 // 100]:.1f} ms at the 99th of 100 ({len(late)} looked at)", flush=True)


def bench_runs(arguments, work, make_mount):
    """make_mount(options) gives a Mount of bench.py, mounted."""
    with make_mount("max_attempts_running=64") as mount:
        bench_trivial(mount, work, arguments.runs)
        bench_steps(mount, work, max(arguments.runs // 10, 10))
    with make_mount("max_attempts_running=64") as mount:
        sleepers = os.path.join(os.path.dirname(os.path.dirname(arguments.program)), "bench/sleepers")
        bench_sleeping(mount, work, arguments.runs * 10, sleepers)
