"""Users and voters for app.py: they ask without a pause, remember what they were told, and hold the application to it.

    python load.py http://127.0.0.1:3112 --seconds 60

At the end: each user is as it was written last, and each act has the votes that were acknowledged. Nothing but the
standard library.
"""

import argparse
import http.client
import json
import random
import sys
import threading
import time
import urllib.parse

arguments = argparse.ArgumentParser()
arguments.add_argument("url")
arguments.add_argument("--seconds", type=float, default=60)
arguments.add_argument("--tasks", type=int, default=8)
options = arguments.parse_args()
address = urllib.parse.urlsplit(options.url).netloc
end = time.monotonic() + options.seconds
lock = threading.Lock()
told = {"asked": 0, "refused": 0, "wrong": 0, "unsure votes": 0, "slowest": 0.0}
votes = {}


def ask(connection, method, path, body=None):
    began = time.monotonic()
    connection.request(method, path, body and json.dumps(body))
    answer = connection.getresponse()
    said = json.loads(answer.read())
    if answer.status == 503:
        print(f"{method} {path}: {said['error']}", file=sys.stderr)
    with lock:
        told["asked"] += 1
        told["refused"] += answer.status == 503
        told["slowest"] = max(told["slowest"], time.monotonic() - began)
    return answer.status, said


def task(number):
    """Has users of its own, so that it knows what they have to be."""
    connection = http.client.HTTPConnection(address)
    users = {}
    while time.monotonic() < end:
        name = f"user-{number}-{random.randrange(50)}"
        user = {"name": f"N{random.randrange(1000)}", "age": random.randrange(100)}
        status, _ = ask(connection, "PUT", f"/users/{name}", user)
        users[name] = user if status == 200 else None
        name = random.choice(list(users))
        status, said = ask(connection, "GET", f"/users/{name}")
        if status == 200 and users[name] and said != {"id": name, **users[name]}:
            print(f"{name} is {said} and not {users[name]}", file=sys.stderr)
            with lock:
                told["wrong"] += 1
        act = f"act-{random.randrange(3)}"
        status, _ = ask(connection, "POST", f"/votes/{act}")
        with lock:
            counted = votes.setdefault(act, [0, 0])
            counted[0] += status == 200
            counted[1] += status == 409
            told["unsure votes"] += status == 409


before = http.client.HTTPConnection(address)
start = {f"act-{act}": ask(before, "GET", f"/votes/act-{act}")[1]["votes"] for act in range(3)}
before.close()
tasks = [threading.Thread(target=task, args=(number,)) for number in range(options.tasks)]
for one in tasks:
    one.start()
for one in tasks:
    one.join()

after = http.client.HTTPConnection(address)
for act, (sure, unsure) in sorted(votes.items()):
    total = ask(after, "GET", f"/votes/{act}")[1]["votes"] - start[act]
    if not sure <= total <= sure + unsure:
        told["wrong"] += 1
    print(f"{act}: {total} more votes, {sure} acknowledged, {unsure} unsure")
told["slowest"] = round(told["slowest"], 3)
print(json.dumps(told))
sys.exit(told["wrong"] > 0)
