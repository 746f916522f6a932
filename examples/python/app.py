"""An application in Python: users, and votes that are counted, by boto3. It knows nothing of a migration.

    pip install boto3
    AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000 python app.py --users bgt-users --votes bgt-votes --port 3112

While the tables move, the variable names the sidecar (`migrate serve`). Afterwards it is left out.
docs/sidecar.md walks through it.

    GET  /users/ID            the user as JSON
    PUT  /users/ID            {"name": "Ann", "age": 7}: the whole user
    POST /votes/ACT           one more vote
    GET  /votes/ACT           how many there are
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.exceptions import ClientError

arguments = argparse.ArgumentParser()
arguments.add_argument("--users", required=True, help="the DynamoDB table of users")
arguments.add_argument("--votes", required=True, help="the DynamoDB table of votes")
arguments.add_argument("--port", type=int, default=3112)
options = arguments.parse_args()

# Threads share a client, and a resource isn't made for that.
dynamodb = boto3.client("dynamodb")


def get_user(name):
    item = dynamodb.get_item(TableName=options.users, Key={"id": {"S": name}}).get("Item")
    if item is None:
        return 404, {"error": "there is no such user"}
    return 200, {"id": name, "name": item["name"]["S"], "age": int(item["age"]["N"])}


def put_user(name, user):
    item = {"id": {"S": name}, "name": {"S": user["name"]}, "age": {"N": str(user["age"])}}
    dynamodb.put_item(TableName=options.users, Item=item)
    return 200, user


def vote(act):
    try:
        dynamodb.update_item(
            TableName=options.votes,
            Key={"act": {"S": act}},
            UpdateExpression="ADD n :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
    except ClientError as error:
        # It may have been counted or not: only the voter can say whether to vote again.
        if error.response["Error"]["Code"] == "AmbiguousWriteFailureException":
            return 409, {"error": "the vote may have been counted"}
        raise
    return 200, {"act": act}


def count(act):
    item = dynamodb.get_item(TableName=options.votes, Key={"act": {"S": act}}).get("Item", {})
    return 200, {"act": act, "votes": int(item.get("n", {"N": "0"})["N"])}


class Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self, body=None):
        _, kind, name = self.path.split("/", 2)
        try:
            match self.command, kind:
                case "GET", "users":
                    status, answer = get_user(name)
                case "PUT", "users":
                    status, answer = put_user(name, body)
                case "POST", "votes":
                    status, answer = vote(name)
                case "GET", "votes":
                    status, answer = count(name)
                case _:
                    status, answer = 404, {"error": "there are users and votes"}
        except ClientError as error:
            status, answer = 503, {"error": str(error)}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.answer()

    def with_body(self):
        length = int(self.headers.get("content-length", 0))
        self.answer(json.loads(self.rfile.read(length) or "null"))

    do_PUT = do_POST = with_body

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    print(f"http://127.0.0.1:{options.port}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", options.port), Requests).serve_forever()
