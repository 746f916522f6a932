"""Adds to a counter from several threads until it is told to stop (a line on stdin), with an SDK's own retries, and tells how
many were acknowledged and of how many it isn't sure.

    adds.py ENDPOINT TABLE KEY MODE
"""

import json
import sys
import threading

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

endpoint, table, key, mode = sys.argv[1:]
config = Config(retries={"mode": mode, "max_attempts": 6}, connect_timeout=2, read_timeout=10, max_pool_connections=20)
client = boto3.client("dynamodb", endpoint_url=endpoint, region_name="us-east-1", config=config)
lock, stop = threading.Lock(), threading.Event()
told = {"sure": 0, "unsure": 0}


def task():
    while not stop.is_set():
        try:
            client.update_item(
                TableName=table,
                Key={"act": {"S": key}},
                UpdateExpression="ADD n :one",
                ExpressionAttributeValues={":one": {"N": "1"}},
            )
            outcome = "sure"
        except (ClientError, BotoCoreError):
            outcome = "unsure"
        with lock:
            told[outcome] += 1


tasks = [threading.Thread(target=task) for _ in range(8)]
for one in tasks:
    one.start()
print("adding", flush=True)
sys.stdin.readline()
stop.set()
for one in tasks:
    one.join()
print(json.dumps(told), flush=True)
