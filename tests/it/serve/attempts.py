"""Does what a line on stdin says (`add`, `put` or `get`), with as many attempts as the SDK makes of itself, and says what
came of it: `ok`, or the error's code.

    attempts.py ENDPOINT PREFIX MODE
"""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ENDPOINT, PREFIX, MODE = sys.argv[1:4]
config = Config(retries={"mode": MODE})
client = boto3.client("dynamodb", endpoint_url=ENDPOINT, region_name="us-east-1", config=config)


def once(what):
    match what:
        case "add":
            client.update_item(
                TableName=f"{PREFIX}-votes",
                Key={"act": {"S": "a"}},
                UpdateExpression="ADD n :one",
                ExpressionAttributeValues={":one": {"N": "1"}},
            )
        case "put":
            client.put_item(TableName=f"{PREFIX}-users", Item={"id": {"S": "u"}, "age": {"N": "1"}})
        case "get":
            client.get_item(TableName=f"{PREFIX}-users", Key={"id": {"S": "u"}})


for line in sys.stdin:
    try:
        once(line.strip())
        print("ok", flush=True)
    except ClientError as error:
        print(error.response["Error"]["Code"], flush=True)
    except BotoCoreError as error:
        print(type(error).__name__, flush=True)
