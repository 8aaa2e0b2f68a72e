#!/usr/bin/env python3
"""Replicas on a real Kafka under load: processes join, leave and are killed while a year of flights lands.

  replicas.py scale --binary target/debug/lakegate --kafka HOST:PORT --work FOLDER
  replicas.py kill  --binary target/debug/lakegate --kafka HOST:PORT --work FOLDER
  replicas.py broker --binary target/debug/lakegate --kafka HOST:PORT --work FOLDER

scale: one process, then three, then one again; those that leave are asked to (SIGTERM) and must end with 0.
kill:  two processes, one of them killed (SIGKILL) in the middle.
broker: two processes, and the broker itself (tests/env/kafka) killed in the middle and started again.

Then a last process runs until everything has come to its end and prints its totals; verify_lake.py compares every
published cell with what landed. Each run is an installation of its own on the cluster, by a prefix.
"""
import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests/data/nycflights13/landing"


class Lander(threading.Thread):
    """Lands the files of the year evenly over some seconds; each appears whole."""

    def __init__(self, landing, seconds):
        super().__init__(daemon=True)
        self.files = sorted(p for p in DATA.rglob("*") if p.is_file())
        self.landing, self.pause, self.landed = landing, seconds / len(self.files), 0

    def run(self):
        for source in self.files:
            target = self.landing / "landing" / source.relative_to(DATA)
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = self.landing.parent / "arriving"
            shutil.copyfile(source, beside)
            os.replace(beside, target)
            self.landed += 1
            time.sleep(self.pause)

    def until(self, share):
        while self.landed < share * len(self.files):
            time.sleep(0.05)


class Cluster:
    def __init__(self, args):
        self.binary, self.work = args.binary, pathlib.Path(args.work)
        self.landing, self.lake = self.work / "raw", self.work / "lake"
        self.landing.mkdir(parents=True)
        self.environment = dict(os.environ, LAKEGATE__KAFKA__PREFIX=f"r{uuid.uuid4().hex[:12]}.")
        self.kafka = args.kafka
        self.running = {}

    def command(self, name, *more):
        return [self.binary, "run", "--kafka", self.kafka, "--landing", f"raw={self.landing}", "--lake", str(self.lake),
                "--contracts", str(ROOT / "contracts"), "--state", str(self.work / f"state-{name}"), "--poll", "500ms", *more]

    def start(self, name):
        log = open(self.work / f"{name}.log", "ab")
        self.running[name] = subprocess.Popen(self.command(name), env=self.environment, stdout=log, stderr=log)
        print(f"{name} starts")

    def alive(self):
        for name, process in self.running.items():
            if process.poll() is not None:
                sys.exit(f"replicas: {name} ended by itself with {process.returncode}, see {self.work}/{name}.log")

    def leave(self, name):
        process = self.running.pop(name)
        since = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
        print(f"{name} left in {time.monotonic() - since:.1f} s")
        if code != 0:
            sys.exit(f"replicas: {name} was asked to leave and ended with {code}, see {self.work}/{name}.log")

    def kill(self, name):
        process = self.running.pop(name)
        process.kill()
        process.wait()
        print(f"{name} is killed")

    def finish(self, name):
        """The rest, by a process that ends when everything has; answers the file of its totals."""
        totals = self.work / "totals.json"
        with open(totals, "wb") as out, open(self.work / f"{name}.log", "ab") as log:
            command = self.command(name, "--until-idle", "--timeout", "5m", "--json")
            code = subprocess.run(command, env=self.environment, stdout=out, stderr=log, check=False).returncode
        if code != 0:
            sys.exit(f"replicas: the last process ended with {code}, see {self.work}/{name}.log")
        return totals


def scale(cluster, lander):
    cluster.start("a")
    lander.until(0.25)
    cluster.start("b")
    cluster.start("c")
    lander.until(0.7)
    cluster.alive()
    cluster.leave("b")
    cluster.leave("c")
    lander.join()
    cluster.alive()
    cluster.leave("a")
    return cluster.finish("a")


def kill(cluster, lander):
    cluster.start("a")
    cluster.start("b")
    lander.until(0.5)
    cluster.alive()
    cluster.kill("b")
    lander.join()
    cluster.alive()
    cluster.leave("a")
    return cluster.finish("a")


def broker(cluster, lander):
    server = ROOT / "tests/env/kafka"
    if f"={cluster.kafka}\n" not in subprocess.run([server, "status"], check=True, capture_output=True, text=True).stdout:
        sys.exit(f"replicas: {cluster.kafka} is not the server of {server}: only that one can be killed")
    cluster.start("a")
    cluster.start("b")
    lander.until(0.4)
    cluster.alive()
    since = time.monotonic()
    subprocess.run([server, "crash"], check=True)
    print(f"the broker is killed and back after {time.monotonic() - since:.1f} s")
    lander.join()
    cluster.alive()
    cluster.leave("b")
    cluster.leave("a")
    return cluster.finish("a")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=["scale", "kill", "broker"])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--work", required=True, help="a folder that does not exist yet")
    parser.add_argument("--seconds", type=float, default=30, help="over which the files land")
    args = parser.parse_args()
    cluster = Cluster(args)
    lander = Lander(cluster.landing, args.seconds)
    since = time.monotonic()
    lander.start()
    try:
        totals = {"scale": scale, "kill": kill, "broker": broker}[args.scenario](cluster, lander)
    finally:
        for process in cluster.running.values():
            process.kill()
    print(f"{args.scenario}: everything came to its end after {time.monotonic() - since:.1f} s")
    verify = [sys.executable, str(ROOT / "tests/verify/verify_lake.py"), "year", "--lake", str(cluster.lake),
              "--landing", str(cluster.landing), "--totals", str(totals)]
    sys.exit(subprocess.run(verify, check=False).returncode)


if __name__ == "__main__":
    main()
