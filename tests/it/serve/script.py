"""What applications do to their tables, by boto3's client and resource and by PynamoDB: one JSON line for each step, with
what came of it. The same lines have to come from a sidecar in every phase, and from DynamoDB itself afterwards.

    script.py ENDPOINT PREFIX KEY [STEP ...]

Tables are PREFIX-users, -events, -notes, -votes. Rows that were there before begin with KEY.
"""

import json
import sys
from decimal import Decimal

import boto3
from boto3.dynamodb.conditions import Attr, Key
from boto3.dynamodb.types import Binary
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, PREFIX, KEY = sys.argv[1:4]
CHOSEN = sys.argv[4:]
CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=60)
KEYS = dict(endpoint_url=ENDPOINT, region_name="us-east-1", config=CONFIG)

client = boto3.client("dynamodb", **KEYS)
resource = boto3.resource("dynamodb", **KEYS)
users, events, notes, votes = (
    resource.Table(f"{PREFIX}-{name}") for name in ("users", "events", "notes", "votes")
)

STEPS = []


def step(function):
    STEPS.append(function)
    return function


def plain(value):
    """As JSON, in an order of its own where DynamoDB promises none."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (Binary, bytes)):
        return bytes(value).hex()
    if isinstance(value, set):
        return sorted((plain(member) for member in value), key=str)
    if isinstance(value, dict):
        # DynamoDB Local tells capacity unasked.
        dropped = ("ConsumedCapacity", "ResponseMetadata")
        return {name: plain(inner) for name, inner in sorted(value.items()) if name not in dropped}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value.replace(KEY, "KEY").replace(PREFIX, "PREFIX") if isinstance(value, str) else value


def refused(call, **arguments):
    """The code of an error, and what else it tells."""
    try:
        call(**arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ServiceUnavailable":
            raise
        reasons = [reason.get("Code") for reason in error.response.get("CancellationReasons", [])]
        return [code, error.response.get("Item"), reasons]
    return "not refused"


def by_id(items):
    return sorted(items, key=lambda item: json.dumps(plain(item), sort_keys=True))


def pages(call, **arguments):
    found, count = [], 0
    while True:
        page = call(**arguments)
        found += page.get("Items", [])
        count += 1
        if "LastEvaluatedKey" not in page or count > 1000:
            return found
        arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]


@step
def reads():
    old = {"id": f"{KEY}-1"}
    yield users.get_item(Key=old)
    yield users.get_item(Key={"id": f"{KEY}-none"})
    yield users.get_item(
        Key=old, ConsistentRead=True, ProjectionExpression="#n, props.k", ExpressionAttributeNames={"#n": "name"}
    )
    yield users.get_item(Key=old, AttributesToGet=["age", "score"])
    keys = [{"id": f"{KEY}-{number}"} for number in (0, 1, 2, 99)]
    batch = resource.batch_get_item(RequestItems={users.name: {"Keys": keys}})
    yield by_id(batch["Responses"][users.name]), batch["UnprocessedKeys"]


@step
def puts():
    item = {
        "id": f"{KEY}-put", "name": "Ann", "age": 5, "big": 2**62, "score": Decimal("0.1"), "active": True,
        "data": Binary(b"\x00\xff"), "tags": {"b", "a"}, "props": {"k": "v", "dotted.key": "w"}, "notes": ["x", "y", "x"],
    }
    yield users.put_item(Item=item)
    yield users.get_item(Key={"id": item["id"]})
    yield users.put_item(Item={"id": item["id"], "name": "Bob"})
    yield users.get_item(Key={"id": item["id"]})
    yield users.put_item(Item={"id": f"{KEY}-2", "age": 7})
    yield users.get_item(Key={"id": f"{KEY}-2"})


@step
def updates():
    old, fresh = {"id": f"{KEY}-3"}, {"id": f"{KEY}-updated"}
    for key in (old, fresh):
        yield users.update_item(
            Key=key,
            UpdateExpression="SET age = :a, props = :p REMOVE score, tags",
            ExpressionAttributeValues={":a": 41, ":p": {"new": "map"}},
        )
        yield users.get_item(Key=key)
    yield users.update_item(
        Key=old, AttributeUpdates={"age": {"Value": 42, "Action": "PUT"}, "name": {"Action": "DELETE"}}
    )
    yield users.get_item(Key=old)


@step
def deletes():
    for key in ({"id": f"{KEY}-4"}, {"id": f"{KEY}-never"}):
        yield users.delete_item(Key=key)
        yield users.get_item(Key=key)
    with users.batch_writer() as batch:
        for number in range(30):
            batch.put_item(Item={"id": f"{KEY}-batch-{number}", "age": number})
        batch.delete_item(Key={"id": f"{KEY}-5"})
    keys = [{"id": f"{KEY}-batch-{number}"} for number in range(30)] + [{"id": f"{KEY}-5"}]
    batch = resource.batch_get_item(RequestItems={users.name: {"Keys": keys, "ProjectionExpression": "age"}})
    yield sorted(item["age"] for item in batch["Responses"][users.name])


@step
def queries():
    all_of = Key("p").eq(KEY)
    yield pages(events.query, KeyConditionExpression=all_of, Limit=2)
    yield pages(events.query, KeyConditionExpression=all_of, Limit=3, ScanIndexForward=False)
    yield events.query(KeyConditionExpression=all_of, Select="COUNT")
    yield events.query(KeyConditionExpression=all_of & Key("at").between(2, 5), FilterExpression=Attr("what").ne("w3"))
    yield events.query(KeyConditionExpression=all_of & Key("at").gt(Decimal("3.5")), ProjectionExpression="what")
    yield events.query(KeyConditionExpression=all_of & Key("at").lt(-1))
    yield events.query(KeyConditionExpression=all_of & Key("at").eq(4))
    yield events.query(KeyConditionExpression=Key("p").eq("nobody"))
    yield events.query(
        KeyConditions={
            "p": {"AttributeValueList": [KEY], "ComparisonOperator": "EQ"},
            "at": {"AttributeValueList": [5], "ComparisonOperator": "GE"},
        },
        QueryFilter={"what": {"AttributeValueList": ["w6"], "ComparisonOperator": "NE"}},
    )
    events.put_item(Item={"p": KEY, "at": 3, "what": "changed"})
    events.delete_item(Key={"p": KEY, "at": 4})
    events.put_item(Item={"p": KEY, "at": 100, "what": "new"})
    yield pages(events.query, KeyConditionExpression=all_of, Limit=2)
    for start in ("a", "b", "bé", "c"):
        yield notes.query(KeyConditionExpression=Key("p").eq(KEY) & Key("title").begins_with(start))


@step
def scans():
    mine = Attr("what").exists() & Attr("owner").eq(KEY)
    for number in range(5):
        notes.put_item(Item={"p": f"{KEY}-{number}", "title": "t", "what": "x", "owner": KEY})
    yield by_id(pages(notes.scan, FilterExpression=mine, Limit=3))
    parts = [pages(notes.scan, FilterExpression=mine, Segment=part, TotalSegments=3) for part in range(3)]
    yield by_id(sum(parts, []))
    yield sum(
        page["Count"]
        for page in client.get_paginator("scan").paginate(
            TableName=notes.name,
            Select="COUNT",
            FilterExpression="#o = :o",
            ExpressionAttributeNames={"#o": "owner"},
            ExpressionAttributeValues={":o": {"S": KEY}},
        )
    )


@step
def counters():
    for key in ({"act": f"{KEY}-1"}, {"act": f"{KEY}-new"}):
        add = dict(Key=key, ExpressionAttributeValues={":n": 5})
        yield votes.update_item(UpdateExpression="ADD n :n", **add)
        yield votes.get_item(Key=key)
        yield votes.update_item(UpdateExpression="ADD n :n", ReturnValues="UPDATED_NEW", **add)
        yield votes.update_item(
            Key=key,
            UpdateExpression="SET n = if_not_exists(n, :zero) + :n",
            ExpressionAttributeValues={":zero": 0, ":n": 3},
            ReturnValues="ALL_NEW",
        )
    yield votes.get_item(Key={"act": f"{KEY}-none"})


@step
def mistakes():
    values = {":a": {"N": "1"}}
    yield refused(client.get_item, TableName=users.name, Key={"id": {"N": "1"}})
    yield refused(client.get_item, TableName=users.name, Key={"other": {"S": "1"}})
    yield refused(client.get_item, TableName=f"{PREFIX}-nothing", Key={"id": {"S": "1"}})
    yield refused(client.put_item, TableName=users.name, Item={"name": {"S": "1"}})
    yield refused(client.put_item, TableName=users.name, Item={"id": {"S": "x"}, "age": {"N": "1x"}})
    yield refused(client.update_item, TableName=users.name, Key={"id": {"S": "x"}}, UpdateExpression="SET age = :b",
                  ExpressionAttributeValues=values)
    yield refused(client.update_item, TableName=users.name, Key={"id": {"S": "x"}}, UpdateExpression="SET id = :a",
                  ExpressionAttributeValues=values)
    yield refused(client.query, TableName=events.name, KeyConditionExpression="p > :a", ExpressionAttributeValues=values)
    yield refused(client.batch_write_item, RequestItems={users.name: []})


@step
def returned():
    key = {"id": f"{KEY}-returned"}
    yield users.put_item(Item={**key, "age": 1}, ReturnValues="ALL_OLD")
    yield users.put_item(Item={**key, "age": 2, "name": "N"}, ReturnValues="ALL_OLD")
    for returns in ("ALL_NEW", "UPDATED_NEW", "ALL_OLD", "UPDATED_OLD"):
        yield users.update_item(
            Key=key,
            UpdateExpression="SET age = :a REMOVE #n",
            ExpressionAttributeNames={"#n": "name"},
            ExpressionAttributeValues={":a": len(returns)},
            ReturnValues=returns,
        )
    yield users.delete_item(Key=key, ReturnValues="ALL_OLD")
    yield users.delete_item(Key=key, ReturnValues="ALL_OLD")


@step
def conditions():
    key = {"id": f"{KEY}-cond"}
    fresh = dict(ConditionExpression=Attr("id").not_exists())
    yield users.put_item(Item={**key, "age": 1, "version": 1}, **fresh)
    yield refused(users.put_item, Item={**key, "age": 2}, **fresh)
    yield refused(
        users.put_item, Item={**key, "age": 2}, Expected={"age": {"Value": 7}},
    )
    yield refused(
        users.update_item,
        Key=key,
        UpdateExpression="SET version = version + :one",
        ConditionExpression=Attr("version").eq(9),
        ExpressionAttributeValues={":one": 1},
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )
    yield users.update_item(
        Key=key,
        UpdateExpression="SET version = version + :one, notes = list_append(if_not_exists(notes, :none), :more) ADD tags :tags",
        ConditionExpression=Attr("version").eq(1) & Attr("name").not_exists(),
        ExpressionAttributeValues={":one": 1, ":none": [], ":more": ["m"], ":tags": {"t"}},
        ReturnValues="ALL_NEW",
    )
    yield users.update_item(
        Key=key, UpdateExpression="ADD age :a DELETE tags :tags", ExpressionAttributeValues={":a": 10, ":tags": {"t"}}
    )
    yield users.get_item(Key=key)
    yield refused(users.delete_item, Key=key, ConditionExpression=Attr("age").lt(0))
    yield users.delete_item(Key=key, ConditionExpression=Attr("age").eq(11))
    yield users.get_item(Key=key)
    # A row that was there before the migration.
    old = {"id": f"{KEY}-6"}
    yield refused(users.put_item, Item={**old, "age": 1}, **fresh)
    yield users.update_item(
        Key=old,
        UpdateExpression="SET age = age + :one, props.added = :v",
        ConditionExpression="attribute_exists(id) AND age = :six",
        ExpressionAttributeValues={":one": 1, ":six": 6, ":v": "w"},
        ReturnValues="ALL_NEW",
    )


@step
def transactions():
    one, two = {"id": {"S": f"{KEY}-t1"}}, {"id": {"S": f"{KEY}-t2"}}
    put = {"Put": {"TableName": users.name, "Item": {**one, "age": {"N": "1"}}}}
    update = {
        "Update": {
            "TableName": users.name, "Key": two, "UpdateExpression": "SET age = :a",
            "ExpressionAttributeValues": {":a": {"N": "2"}},
        }
    }
    check = {
        "ConditionCheck": {
            "TableName": events.name, "Key": {"p": {"S": KEY}, "at": {"N": "0"}},
            "ConditionExpression": "attribute_exists(p)",
        }
    }
    yield client.transact_write_items(TransactItems=[put, update, check])
    gets = [{"Get": {"TableName": users.name, "Key": key}} for key in (one, two, {"id": {"S": f"{KEY}-t3"}})]
    yield client.transact_get_items(TransactItems=gets)
    put["Put"]["ConditionExpression"] = "attribute_not_exists(id)"
    delete = {"Delete": {"TableName": users.name, "Key": two}}
    yield refused(client.transact_write_items, TransactItems=[put, delete])
    yield client.transact_get_items(TransactItems=gets)


@step
def pynamo():
    from pynamodb.attributes import NumberAttribute, UnicodeAttribute, UnicodeSetAttribute
    from pynamodb.models import Model

    class User(Model):
        class Meta:
            table_name = users.name
            host = ENDPOINT
            region = "us-east-1"
            max_retry_attempts = 0

        id = UnicodeAttribute(hash_key=True)
        name = UnicodeAttribute(null=True)
        age = NumberAttribute(null=True)
        tags = UnicodeSetAttribute(null=True)

    yield User.get(f"{KEY}-7").to_simple_dict()
    user = User(f"{KEY}-pynamo", name="P", age=3, tags={"x"})
    user.save()
    yield User.get(user.id).to_simple_dict()
    user.update(actions=[User.age.set(4), User.name.remove()])
    yield User.get(user.id).to_simple_dict()
    found = User.batch_get([user.id, f"{KEY}-7"])
    yield sorted(user.id for user in found)
    user.delete()
    yield User.exists(), list(User.query(user.id))


# The first read opens connections, which takes as long as the machine is busy.
for _ in range(60):
    try:
        users.get_item(Key={"id": KEY})
        break
    except ClientError:
        pass

for function in STEPS:
    if CHOSEN and function.__name__ not in CHOSEN:
        continue
    seen = []
    try:
        for result in function():
            seen.append(plain(result))
    except ClientError as error:
        seen.append(plain([error.response["Error"]["Code"], error.operation_name, error.response["Error"]["Message"]]))
    except Exception as error:  # what a mapper makes of an error
        seen.append(plain(f"{type(error).__name__}: {error}"))
    print(json.dumps({"step": function.__name__, "seen": seen}, sort_keys=True), flush=True)
