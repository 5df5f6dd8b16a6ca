#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What aionfs costs, next to what one would do without it, in one run on one machine.

deploy   cp into deploy/            against  tar x; sync -f; ln -sfn
route    ln -sfn on a route         against  ln -sfn; sync DIR
read     find, cat of every file    against  ext4 (or what STATE lies on) and squashfuse, cold and warm
mount    100, 1,000, 10,000 versions in the store: time until ready, memory
readers  ls and cat of a version while a large archive is decoded, against the same when idle
runs     durable runs: see runs.py

Prints medians and ratios: the machines are noisy, so a ratio of the same run says more than a time.
A ratio below 1 means that aionfs is faster.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

import runs

PARTS = ("deploy", "route", "read", "mount", "readers", "runs")


def run(*argv, **options):
    return subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, **options)


def timed(function, *args):
    begun = time.monotonic()
    function(*args)
    return time.monotonic() - begun


def median_ms(times):
    return statistics.median(times) * 1000


def row(what, ours, theirs, peer):
    print(f"{what:<44} {ours:>10.1f} ms   {theirs:>10.1f} ms {peer:<22} x{ours / theirs:.2f}", flush=True)


class Mount:
    """A private state and mount; options as for `aionfs mount -o`."""

    def __init__(self, program, directory, options="no_scrub"):
        self.program = program
        self.state = os.path.join(directory, "state")
        self.path = os.path.join(directory, "mnt")
        self.options = options
        os.makedirs(self.path, exist_ok=True)

    def __enter__(self):
        self.mount()
        return self

    def mount(self):
        run(self.program, "mount", "-o", self.options, self.state, self.path)

    def umount(self):
        run(self.program, "stop", self.path)

    def __exit__(self, *_):
        self.umount()

    def __truediv__(self, name):
        return os.path.join(self.path, name)

    def status(self):
        with open(self / "status", encoding="utf-8") as file:
            return json.load(file)

    def memory_kib(self):
        with open(f"/proc/{self.status()['pid']}/status", encoding="utf-8") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["RssAnon"].split()[0])


# ---- trees ----

def npm_tree(work, name):
    """The package from the npm registry with a manifest added, or None when there is no registry."""
    tree = os.path.join(work, "trees", name)
    if os.path.isdir(tree):
        return tree
    done = subprocess.run(["npm", "pack", "--silent", name, "--pack-destination", work],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"skipped: {name} is not to be had from the npm registry here", flush=True)
        return None
    archive = os.path.join(work, done.stdout.strip().splitlines()[-1])
    os.makedirs(tree)
    run("tar", "xf", archive, "-C", tree, "--strip-components=1")
    add_manifest(tree, name)
    return tree


def add_manifest(tree, name, label="1"):
    with open(os.path.join(tree, "manifest.json"), "w", encoding="utf-8") as file:
        json.dump({"entry_module": name, "label": label}, file)


def large_tree(work, megabytes=300):
    """Files from 200 bytes to 8 MiB, half of it text that compresses, half of it noise."""
    tree = os.path.join(work, "trees", "large")
    if os.path.isdir(tree):
        return tree
    source = random.Random(1)
    words = [bytes(source.choices(range(97, 123), k=source.randint(2, 10))) for _ in range(2000)]
    left = megabytes << 20
    number = 0
    while left > 0:
        size = min(left, int(200 * 2 ** (source.random() ** 3 * 15.3)))
        where = os.path.join(tree, f"d{number % 97}")
        os.makedirs(where, exist_ok=True)
        if number % 2:
            body = b" ".join(source.choices(words, k=size // 6 + 1))[:size]
        else:
            body = source.randbytes(size)
        with open(os.path.join(where, f"f{number}"), "wb") as file:
            file.write(body)
        left -= size
        number += 1
    add_manifest(tree, "large")
    return tree


def pack(tree, suffix):
    archive = f"{tree}.{suffix}"
    if not os.path.exists(archive):
        flag = {"tar.gz": "--gzip", "tar.zst": "--zstd"}[suffix]
        run("tar", "-c", flag, "-f", archive, "-C", tree, ".")
    return archive


def trees(work, small=False):
    names = [npm_tree(work, "express")] + ([] if small else [npm_tree(work, "next"), large_tree(work)])
    return [tree for tree in names if tree]


# ---- parts ----

def unpack(archive, target, link):
    os.makedirs(target)
    run("tar", "xf", archive, "-C", target)
    run("sync", "-f", target)
    run("ln", "-sfn", target, link)


def settled(function, *args):
    """Timed on a disk that has nothing left to write, of this program or of any other."""
    run("sync")
    return timed(function, *args)


def unpack_once(archive, work):
    target = os.path.join(work, "unpacked")
    try:
        return settled(unpack, archive, target, os.path.join(work, "link"))
    finally:
        shutil.rmtree(target)


def deploy_once(archive, arguments, work):
    # A new state each time: a second deploy would find everything there.
    with tempfile.TemporaryDirectory(dir=work) as directory, Mount(arguments.program, directory) as mount:
        return settled(run, "cp", archive, mount / "deploy/x")


def bench_deploy(arguments, work):
    for tree in trees(work):
        for suffix in ("tar.gz", "tar.zst"):
            archive = pack(tree, suffix)
            ours, theirs = [], []
            for number in range(arguments.rounds):
                # Who comes second has the other's freed pages and blocks: each comes first in turn.
                if number % 2:
                    ours.append(deploy_once(archive, arguments, work))
                theirs.append(unpack_once(archive, work))
                if not number % 2:
                    ours.append(deploy_once(archive, arguments, work))
            row(f"deploy {os.path.basename(archive)}", median_ms(ours), median_ms(theirs), "tar x, sync, ln")


def deploy_labels(mount, work, count, name="routed"):
    """Deploys `count` tiny versions of one type; returns their versions."""
    versions = []
    for number in range(count):
        archive = os.path.join(work, "tiny.tar")
        tiny_archive(archive, name, str(number))
        shutil.copyfile(archive, mount / "deploy/tiny.tar")
        with open(mount / "deploy/tiny.tar", encoding="utf-8") as file:
            versions.append(json.load(file)["version"])
    return versions


def tiny_archive(path, name, label):
    import io
    body = json.dumps({"entry_module": name, "label": label}).encode()
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(body)
        archive.addfile(entry, io.BytesIO(body))


def bench_route(arguments, work):
    directory = tempfile.mkdtemp(dir=work)
    plain = os.path.join(work, "plain")
    os.makedirs(os.path.join(plain, "routes"), exist_ok=True)
    with Mount(arguments.program, directory) as mount:
        first, second = deploy_labels(mount, work, 2)
        ours, theirs = [], []
        for number in range(arguments.rounds * 20):
            target = f"../packages/routed/{(first, second)[number % 2]}"
            ours.append(timed(run, "ln", "-sfn", target, mount / "routes/routed"))

            def link():
                run("ln", "-sfn", target, os.path.join(plain, "routes", "routed"))
                run("sync", os.path.join(plain, "routes"))
            theirs.append(timed(link))
    row("re-route (includes starting ln, and sync)", median_ms(ours), median_ms(theirs), "ln -sfn, sync DIR")


def walk(tree):
    subprocess.run(f"find {tree} -type f -print0 | xargs -0 cat", shell=True, check=True,
                   stdout=subprocess.DEVNULL)


def drop_caches():
    run("sync")
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")


def walk_times(tree, rounds):
    cold, warm = [], []
    for _ in range(rounds):
        drop_caches()
        cold.append(timed(walk, tree))
        warm.append(timed(walk, tree))
    return median_ms(cold), median_ms(warm)


def bench_read(arguments, work):
    for tree in trees(work):
        name = os.path.basename(tree)
        image, image_mount = f"{tree}.squashfs", os.path.join(work, "squash")
        os.makedirs(image_mount, exist_ok=True)
        if not os.path.exists(image):
            run("mksquashfs", tree, image, "-quiet", "-no-progress")
        directory = tempfile.mkdtemp(dir=work)
        with Mount(arguments.program, directory) as mount:
            shutil.copyfile(pack(tree, "tar.zst"), mount / "deploy/x")
            ours = walk_times(os.path.realpath(mount / f"routes/{name}"), arguments.rounds)
        plain = walk_times(tree, arguments.rounds)
        run("squashfuse", image, image_mount)
        try:
            squash = walk_times(image_mount, arguments.rounds)
        finally:
            run("umount", image_mount)
        for index, what in enumerate(("cold", "warm")):
            row(f"read {name}, {what}", ours[index], plain[index], "the plain directory")
            row(f"read {name}, {what}", ours[index], squash[index], "squashfuse")


def bench_mount(arguments, work):
    directory = tempfile.mkdtemp(dir=work)
    mount = Mount(arguments.program, directory)
    first = None
    done = 0
    for count in (100, 1000, 10000):
        mount.mount()
        for number in range(done, count):
            tiny_archive(os.path.join(work, "tiny.tar"), f"type{number % 50}", str(number))
            shutil.copyfile(os.path.join(work, "tiny.tar"), mount / "stage/tiny.tar")
        done = count
        mount.umount()
        times = []
        for _ in range(arguments.rounds):
            times.append(timed(mount.mount))
            memory = mount.memory_kib()
            mount.umount()
        first = first or median_ms(times)
        print(f"mount with {count:>6} versions {median_ms(times):>22.1f} ms   x{median_ms(times) / first:.2f} "
              f"of the first   {memory / 1024:.1f} MiB of the daemon's own memory", flush=True)


def latencies(path, stop):
    times = []
    while not stop.is_set() and len(times) < 20000:
        begun = time.monotonic()
        os.listdir(path)
        with open(os.path.join(path, "manifest.json"), "rb") as file:
            file.read()
        times.append(time.monotonic() - begun)
        time.sleep(0.001)
    return times


def bench_readers(arguments, work):
    archive = pack(large_tree(work), "tar.gz")
    directory = tempfile.mkdtemp(dir=work)
    with Mount(arguments.program, directory) as mount:
        version = deploy_labels(mount, work, 1)[0]
        path = mount / f"packages/routed/{version}"
        stop = threading.Event()
        threading.Timer(2, stop.set).start()
        idle = latencies(path, stop)
        stop = threading.Event()
        busy = []
        reader = threading.Thread(target=lambda: busy.extend(latencies(path, stop)))
        reader.start()
        run("cp", archive, mount / "deploy/large")
        stop.set()
        reader.join()
    row("readers while decoding, median", median_ms(busy), median_ms(idle), "idle")
    for name, times in (("decoding", busy), ("idle", idle)):
        print(f"    99 of 100 readers, {name}: {sorted(times)[len(times) * 99 // 100] * 1000:.2f} ms "
              f"({len(times)} rounds)", flush=True)


def bench_runs(arguments, work):
    def make_mount(options):
        return Mount(arguments.program, tempfile.mkdtemp(dir=work), f"no_scrub,{options}")
    runs.bench_runs(arguments, work, make_mount)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the aionfs program, best of a release build")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part (may be repeated)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=10000, help="trivial runs; a tenth has steps, ten times as many sleep")
    parser.add_argument("--work", help="where to put trees and states (default: a temporary directory)")
    arguments = parser.parse_args()
    arguments.program = os.path.abspath(arguments.program)
    work = os.path.abspath(arguments.work) if arguments.work else tempfile.mkdtemp(prefix="aionfs-bench.")
    os.makedirs(os.path.join(work, "trees"), exist_ok=True)
    print(f"{'':<44} {'aionfs':>10}      {'peer':>10}", flush=True)
    try:
        for part in arguments.only or PARTS:
            globals()[f"bench_{part}"](arguments, work)
    finally:
        if not arguments.work:
            shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
