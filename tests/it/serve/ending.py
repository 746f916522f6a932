"""Reads, puts and adds without a pause and without retries, at whichever sidecar is ready, until a line comes on stdin.

    ending.py PREFIX ENDPOINT ENDPOINT

Tells what was asked of each, what was added, and what failed.
"""

import json
import random
import sys
import threading
import time
import urllib.error
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PREFIX, *ENDPOINTS = sys.argv[1:]
CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 1}, max_pool_connections=16)
clients = {
    endpoint: boto3.client("dynamodb", endpoint_url=endpoint, region_name="us-east-1", config=CONFIG)
    for endpoint in ENDPOINTS
}
ready = set(ENDPOINTS)
stop = threading.Event()
lock = threading.Lock()
told = {"asked": {endpoint: 0 for endpoint in ENDPOINTS}, "added": 0, "failed": []}


def look():
    """As a load balancer does."""
    while not stop.is_set():
        for endpoint in ENDPOINTS:
            try:
                urllib.request.urlopen(f"{endpoint}/ready", timeout=5).read()
                ready.add(endpoint)
            except (OSError, urllib.error.HTTPError):
                ready.discard(endpoint)
        time.sleep(0.05)


def task(number):
    turn = 0
    while not stop.is_set():
        turn += 1
        endpoint = random.choice(sorted(ready))
        client, key = clients[endpoint], {"id": {"S": f"u{number}"}}
        try:
            match turn % 3:
                case 0:
                    client.get_item(TableName=f"{PREFIX}-users", Key=key)
                case 1:
                    client.put_item(TableName=f"{PREFIX}-users", Item={**key, "age": {"N": str(turn)}})
                case 2:
                    client.update_item(
                        TableName=f"{PREFIX}-votes",
                        Key={"act": {"S": "a"}},
                        UpdateExpression="ADD n :one",
                        ExpressionAttributeValues={":one": {"N": "1"}},
                    )
            with lock:
                told["asked"][endpoint] += 1
                told["added"] += turn % 3 == 2
        except (ClientError, BotoCoreError) as error:
            with lock:
                told["failed"].append(f"{endpoint}: {error}")
        time.sleep(0.01)


looking = threading.Thread(target=look)
tasks = [threading.Thread(target=task, args=(number,)) for number in range(8)]
for one in [looking, *tasks]:
    one.start()
while min(told["asked"].values()) < 50:
    time.sleep(0.05)
print("asking", flush=True)
sys.stdin.readline()
stop.set()
for one in [looking, *tasks]:
    one.join()
print(json.dumps(told), flush=True)
