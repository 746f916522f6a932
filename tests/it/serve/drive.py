"""The operations of examples/drive.rs, and more, by boto3: one JSON command a line on stdin, one JSON answer a line on
stdout, matched by `id`; commands run side by side. `repeated` says that it took more than one attempt.

    drive.py ENDPOINT PREFIX MODE[,MODE ...]

Tables are PREFIX-users, -messages, -polls. A command takes one of the retry modes by turns, and waits a second for an
answer. An error is {"kind": the code, "effect": "none" where the call certainly changed nothing}.
"""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ENDPOINT, PREFIX, MODES = sys.argv[1:4]
TASKS = 24
CELLS = ("a", "second", "c")
# The table's name in an expression may be a reserved word.
NAMES = {f"#{name}": name for name in CELLS}


def client(mode):
    # In legacy mode it is the number of retries, in standard mode that of attempts.
    config = Config(
        retries={"mode": mode, "max_attempts": 3},
        connect_timeout=1,
        read_timeout=1,
        max_pool_connections=TASKS,
    )
    return boto3.client("dynamodb", endpoint_url=ENDPOINT, region_name="us-east-1", config=config)


CLIENTS = [client(mode) for mode in MODES.split(",")]


def value(plain):
    return {"N": str(plain)} if isinstance(plain, int) else {"S": plain}


def item(columns):
    return {name: value(plain) for name, plain in columns.items()}


def row(found):
    if not found:
        return None
    return {name: int(one["N"]) if "N" in one else one["S"] for name, one in found.items()}


def set_and_remove(asked):
    """An update expression of constants, with its names and values."""
    sets, removes = asked.get("set", {}), asked.get("remove", [])
    parts = []
    if sets:
        parts.append("SET " + ", ".join(f"#{name} = :{name}" for name in sets))
    if removes:
        parts.append("REMOVE " + ", ".join(f"#{name}" for name in removes))
    return dict(
        UpdateExpression=" ".join(parts),
        ExpressionAttributeNames={f"#{name}": name for name in [*sets, *removes]},
        **({"ExpressionAttributeValues": {f":{name}": value(plain) for name, plain in sets.items()}} if sets else {}),
    )


def as_it_was(was):
    """A condition that the cells are these."""
    parts, values = [], {}
    for name in CELLS:
        if was.get(name) is None:
            parts.append(f"attribute_not_exists(#{name})")
        else:
            parts.append(f"#{name} = :was_{name}")
            values[f":was_{name}"] = value(was[name])
    return " AND ".join(parts), values


def met(by, **more):
    """A conditional write: whether its condition was met, and the item if it wasn't."""
    try:
        by(ReturnValuesOnConditionCheckFailure="ALL_OLD", **more)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        # An earlier attempt may have been made, and met it.
        sure = error.response["ResponseMetadata"].get("RetryAttempts", 0) == 0
        return {"met": False, "sure": sure, "row": row(error.response.get("Item"))}
    return {"met": True}


def pages(call, limit=None, **arguments):
    found = []
    while limit is None or len(found) < limit:
        if limit is not None:
            arguments["Limit"] = limit - len(found)
        page = call(**arguments)
        found += [row(one) for one in page["Items"]]
        if "LastEvaluatedKey" not in page:
            break
        arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    return found


def get(by, table, asked):
    found = by.get_item(TableName=table, Key=item(asked["key"]), ConsistentRead=True)
    return row(found.get("Item"))


def put(by, table, asked):
    by.put_item(TableName=table, Item=item(asked["row"]))
    return True


def update(by, table, asked):
    by.update_item(TableName=table, Key=item(asked["key"]), **set_and_remove(asked))
    return True


def delete(by, table, asked):
    by.delete_item(TableName=table, Key=item(asked["key"]))
    return True


def query(by, table, asked):
    return pages(
        by.query,
        asked.get("limit"),
        TableName=table,
        KeyConditionExpression="room = :room",
        ExpressionAttributeValues={":room": value(asked["partition"]["room"])},
        ScanIndexForward=asked["reverse"],
        ConsistentRead=True,
    )


def scan(by, table, asked):
    return pages(by.scan, TableName=table, ConsistentRead=True)


def add(by, table, asked):
    by.update_item(
        TableName=table,
        Key=item(asked["key"]),
        UpdateExpression="ADD n :by",
        ExpressionAttributeValues={":by": value(asked["by"])},
    )
    return True


def add_and_count(by, table, asked):
    added = by.update_item(
        TableName=table,
        Key=item(asked["key"]),
        UpdateExpression="SET n = if_not_exists(n, :zero) + :by",
        ExpressionAttributeValues={":by": value(asked["by"]), ":zero": value(0)},
        ReturnValues="UPDATED_NEW",
    )
    return row(added["Attributes"])


def count(by, table, asked):
    return get(by, table, asked) or {}


def put_new(by, table, asked):
    return met(by.put_item, TableName=table, Item=item(asked["row"]), ConditionExpression="attribute_not_exists(id)")


def update_if(by, table, asked):
    condition, values = as_it_was(asked["was"])
    update = set_and_remove(asked)
    update["ExpressionAttributeNames"] = NAMES
    update["ExpressionAttributeValues"] = {**update.get("ExpressionAttributeValues", {}), **values}
    if not update["ExpressionAttributeValues"]:
        del update["ExpressionAttributeValues"]
    return met(by.update_item, TableName=table, Key=item(asked["key"]), ConditionExpression=condition, **update)


def delete_if(by, table, asked):
    condition, values = as_it_was(asked["was"])
    values = {"ExpressionAttributeValues": values} if values else {}
    return met(
        by.delete_item, TableName=table, Key=item(asked["key"]), ConditionExpression=condition,
        ExpressionAttributeNames=NAMES, **values,
    )


def batch_get(by, table, asked):
    """The rows by id; those that were left out aren't there."""
    wanted = {table: {"Keys": [item(key) for key in asked["keys"]], "ConsistentRead": True}}
    answer = by.batch_get_item(RequestItems=wanted)
    left = [one["id"]["S"] for one in answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])]
    found = {one["id"]["S"]: row(one) for one in answer["Responses"].get(table, [])}
    return {key["id"]: found.get(key["id"]) for key in asked["keys"] if key["id"] not in left}


def batch_write(by, table, asked):
    """Ids of those that are to be written again."""
    writes = [{"PutRequest": {"Item": item(one)}} for one in asked["rows"]]
    writes += [{"DeleteRequest": {"Key": item(key)}} for key in asked["keys"]]
    answer = by.batch_write_item(RequestItems={table: writes})
    left = answer.get("UnprocessedItems", {}).get(table, [])
    left = [one["PutRequest"]["Item"] if "PutRequest" in one else one["DeleteRequest"]["Key"] for one in left]
    return {"left": [one["id"]["S"] for one in left]}


def transact_write(by, table, asked):
    writes = [{"Put": {"TableName": table, "Item": item(one)}} for one in asked["rows"]]
    writes += [{"Delete": {"TableName": table, "Key": item(key)}} for key in asked["keys"]]
    by.transact_write_items(TransactItems=writes)
    return {"left": []}


def transact_get(by, table, asked):
    gets = [{"Get": {"TableName": table, "Key": item(key)}} for key in asked["keys"]]
    found = by.transact_get_items(TransactItems=gets)["Responses"]
    return {key["id"]: row(one.get("Item")) for key, one in zip(asked["keys"], found)}


# What says that the call changed nothing, whatever became of its attempts.
NOTHING = {
    "ServiceUnavailable", "ProvisionedThroughputExceededException", "ValidationException", "ResourceInUseException",
}
# The same of the last attempt alone.
NOT_NOW = {"TransactionCanceledException"}
# What comes of itself while tables move.
EXPECTED = {"ServiceUnavailable", "AmbiguousWriteFailureException", "InternalServerError"}
lock = threading.Lock()


# How many attempts the command of this thread has sent.
sent = threading.local()


def attempted(**_):
    sent.attempts += 1


for one in CLIENTS:
    one.meta.events.register("before-send.dynamodb", attempted)


def answer(asked):
    by = CLIENTS[asked["id"] % len(CLIENTS)]
    sent.attempts = 0
    try:
        said = {"ok": globals()[asked["op"]](by, f"{PREFIX}-{asked['table']}", asked)}
    except ClientError as error:
        code = error.response["Error"]["Code"]
        is_first = error.response["ResponseMetadata"].get("RetryAttempts", 0) == 0
        nothing = code in NOTHING or code in NOT_NOW and is_first
        said = {"error": {"kind": code, "effect": "none" if nothing else "unknown"}}
        if code not in EXPECTED and not asked["op"].startswith("transact"):
            print(f"{asked}: {error}", file=sys.stderr)
    except BotoCoreError:
        said = {"error": {"kind": "unanswered", "effect": "unknown"}}
    with lock:
        print(json.dumps({"id": asked["id"], "repeated": sent.attempts > 1, **said}), flush=True)


with ThreadPoolExecutor(TASKS) as tasks:
    for line in sys.stdin:
        tasks.submit(answer, json.loads(line))
