"""Makes the snapshots in this folder: make.py FOLDER NAME=SERVER ... (each a path to redis-server or valkey-server). Needs redis-py."""
import os, shutil, socket, subprocess, sys, tempfile, time
import redis



def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(server, folder):
    port = free_port()
    process = subprocess.Popen(
        [server, "--port", str(port), "--dir", folder, "--save", ""], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    while True:
        try:
            client.ping()
            return process, client
        except redis.exceptions.ConnectionError:
            time.sleep(0.05)


def fill(client):
    client.set("text", "hello")
    client.set("empty", "")
    client.set("repeated", "abc" * 1000)
    for number in (0, -1, 127, -128, 300, -30000, 70000, -2**31, 2**31, 2**63 - 1, -2**63):
        client.set(f"integer:{number}", number)
    client.set("expiring", "later", pxat=4102444800123)
    client.set("gone", "v", px=1)
    for n in (5, 1000):
        client.rpush(f"list:{n}", *[f"element:{i}" if i % 3 else i * i - 50 for i in range(n)])
        client.sadd(f"integers:{n}", *[i * 1000003 - 7 for i in range(n)])
        client.sadd(f"words:{n}", *[f"word:{i}" for i in range(n)])
        client.hset(f"hash:{n}", mapping={f"field:{i}": "v" * i if i < 90 else i * 7 for i in range(n)})
        client.zadd(f"scores:{n}", {f"member:{i}": i / 8 if i % 5 else -i for i in range(n)})
    client.zadd("infinite", {"low": float("-inf"), "high": float("inf")})
    client.rpush("wide", "w" * 20000, "x")


def main():
    target, *named = sys.argv[1:]
    for name, server in (pair.split("=") for pair in named):
        with tempfile.TemporaryDirectory() as folder:
            process, client = start(server, folder)
            fill(client)
            client.save()
            process.kill()
            process.wait()
            shutil.copy(f"{folder}/dump.rdb", f"{target}/{name}.rdb")


main()
