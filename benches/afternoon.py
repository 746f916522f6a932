"""A script as one writes it in an afternoon: every row of a table in Cassandra becomes an item, without any guard.

    python afternoon.py NODE KEYSPACE TABLE URL ROWS
"""
import sys

import boto3
from cassandra.cluster import Cluster
from cassandra.query import SimpleStatement, dict_factory

node, keyspace, table, url, rows = sys.argv[1:]
host, port = node.rsplit(":", 1)
session = Cluster([host], port=int(port)).connect(keyspace)
session.row_factory = dict_factory
dynamodb = boto3.resource("dynamodb", endpoint_url=url, region_name="us-east-1")
target = dynamodb.create_table(
    TableName=f"afternoon-{table}",
    KeySchema=[{"AttributeName": "team", "KeyType": "HASH"}, {"AttributeName": "id", "KeyType": "RANGE"}],
    AttributeDefinitions=[{"AttributeName": "team", "AttributeType": "S"}, {"AttributeName": "id", "AttributeType": "N"}],
    BillingMode="PAY_PER_REQUEST",
)

left = int(rows)
with target.batch_writer() as batch:
    for row in session.execute(SimpleStatement(f"SELECT * FROM {table}", fetch_size=1000)):
        row["born"] = int(row["born"].timestamp() * 1000)
        row["tags"] = set(row["tags"])
        row["attributes"] = dict(row["attributes"])
        batch.put_item(Item=row)
        left -= 1
        if left == 0:
            break
print(int(rows) - left)
