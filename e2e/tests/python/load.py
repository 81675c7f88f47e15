"""Writes and reads through redis-py's RedisCluster until standard input ends, then verifies and reports as JSON.

Usage: load.py HOST PORT KEYS. Prints "ready" once every key was written and the load is under way.
Every key has one writer, whose values are 1, 2, 3, ...; a key is lost if it holds less than what was acknowledged.
"""

import json
import random
import sys
import threading
import time

from redis.cluster import RedisCluster

WRITERS = 3
READERS = 2
PAUSE = 0.005


class Load:
    def __init__(self, host, port, keys):
        self.cache = RedisCluster(host=host, port=port, socket_timeout=5, decode_responses=True)
        self.acknowledged = [0] * keys
        self.unknown = set()
        self.writes = 0
        self.reads = 0
        self.errors = []
        self.stale = []
        self.stop = threading.Event()
        self.lock = threading.Lock()

    def name(self, key):
        return f"python:{key:06}"

    def failed(self, what, key, error):
        with self.lock:
            self.errors.append(f"{what} of {self.name(key)}: {type(error).__name__}: {error}")

    def write(self, key):
        if key in self.unknown:
            return
        number = self.acknowledged[key] + 1
        try:
            self.cache.set(self.name(key), number)
        except Exception as error:  # whatever the library gives up with is a client error
            self.unknown.add(key)
            self.failed("write", key, error)
            return
        self.acknowledged[key] = number
        with self.lock:
            self.writes += 1

    def read(self, key):
        floor = self.acknowledged[key]
        try:
            found = int(self.cache.get(self.name(key)) or 0)
        except Exception as error:
            self.failed("read", key, error)
            return
        with self.lock:
            self.reads += 1
            if found < floor:
                self.stale.append(f"{self.name(key)} holds {found}, {floor} was acknowledged")

    def writer(self, task):
        own = range(task, len(self.acknowledged), WRITERS)
        while not self.stop.is_set():
            self.write(random.choice(own))
            time.sleep(PAUSE)

    def reader(self):
        while not self.stop.is_set():
            self.read(random.randrange(len(self.acknowledged)))
            time.sleep(PAUSE)

    def lost(self):
        lost = []
        for key, acknowledged in enumerate(self.acknowledged):
            found = int(self.cache.get(self.name(key)) or 0)
            if found < acknowledged:
                lost.append(f"{self.name(key)} holds {found}, {acknowledged} was acknowledged")
        return lost


def main():
    host, port, keys = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    load = Load(host, port, keys)
    for key in range(keys):
        load.write(key)
    tasks = [threading.Thread(target=load.writer, args=(task,)) for task in range(WRITERS)]
    tasks += [threading.Thread(target=load.reader) for _ in range(READERS)]
    for task in tasks:
        task.start()
    print("ready", flush=True)
    sys.stdin.read()
    load.stop.set()
    for task in tasks:
        task.join()
    report = {"writes": load.writes, "reads": load.reads, "errors": load.errors, "stale": load.stale, "lost": load.lost()}
    print(json.dumps(report), flush=True)


main()
