// Does what a line on stdin says (`add`, `put` or `get`), with as many attempts as the SDK makes of itself, and says what
// came of it: `ok`, or the error's name.
//
//     attempts.mjs ENDPOINT PREFIX

import { createInterface } from "node:readline";
import { DynamoDBClient, GetItemCommand, PutItemCommand, UpdateItemCommand } from "@aws-sdk/client-dynamodb";

const [ENDPOINT, PREFIX] = process.argv.slice(2);
const client = new DynamoDBClient({ endpoint: ENDPOINT, region: "us-east-1" });
const [users, votes] = [`${PREFIX}-users`, `${PREFIX}-votes`];
const commands = {
  add: () => new UpdateItemCommand({
    TableName: votes, Key: { act: { S: "a" } }, UpdateExpression: "ADD n :one",
    ExpressionAttributeValues: { ":one": { N: "1" } },
  }),
  put: () => new PutItemCommand({ TableName: users, Item: { id: { S: "u" }, age: { N: "1" } } }),
  get: () => new GetItemCommand({ TableName: users, Key: { id: { S: "u" } } }),
};

for await (const line of createInterface({ input: process.stdin })) {
  try {
    await client.send(commands[line.trim()]());
    console.log("ok");
  } catch (error) {
    console.log(error.name);
  }
}
