// What applications do to their tables, by the AWS SDK's clients, by dynamoose and by ElectroDB: one JSON line for each
// step, with what came of it. The same lines have to come from a sidecar in every phase, and from DynamoDB itself
// afterwards.
//
//     script.mjs ENDPOINT PREFIX KEY
//
// Tables are PREFIX-users, -events, -notes, -votes. Rows that were there before begin with KEY.

import { DynamoDBClient, GetItemCommand, PutItemCommand, UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import {
  BatchGetCommand, BatchWriteCommand, DeleteCommand, DynamoDBDocumentClient, GetCommand, paginateQuery, paginateScan,
  PutCommand, QueryCommand, TransactGetCommand, TransactWriteCommand, UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import dynamoose from "dynamoose";
import { Entity } from "electrodb";

const [ENDPOINT, PREFIX, KEY] = process.argv.slice(2);
const settings = { endpoint: ENDPOINT, region: "us-east-1", maxAttempts: 1 };
const client = new DynamoDBClient(settings);
const documents = DynamoDBDocumentClient.from(client, { marshallOptions: { removeUndefinedValues: true } });
const [users, events, notes, votes] = ["users", "events", "notes", "votes"].map((name) => `${PREFIX}-${name}`);

/** As JSON, in an order of its own where DynamoDB promises none. */
function plain(value) {
  if (typeof value === "bigint") return String(value);
  if (typeof value === "string") return value.replaceAll(KEY, "KEY").replaceAll(PREFIX, "PREFIX");
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (value instanceof Set) return [...value].map(plain).sort();
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  // DynamoDB Local tells capacity unasked.
  const dropped = ["$metadata", "ConsumedCapacity"];
  const names = Object.keys(value).filter((name) => !dropped.includes(name)).sort();
  return Object.fromEntries(names.map((name) => [name, plain(value[name])]));
}

/** What the application learns of an error. */
const told = (error) => [error.name, error.message, error.Item ?? null, error.CancellationReasons?.map((it) => it.Code) ?? null];

/** An error that is meant to come. */
async function refused(call) {
  try {
    await call;
  } catch (error) {
    if (error.name === "ServiceUnavailable") throw error;
    return told(error);
  }
  return "not refused";
}

async function all(pages) {
  const found = [];
  for await (const page of pages) found.push(...(page.Items ?? []));
  return found;
}

const sorted = (items) => items.map((item) => JSON.stringify(plain(item))).sort();
/** dynamoose's own JSON loses sets. */
const shown = (item) => ({ ...item });
const send = (command) => documents.send(command);

const steps = {
  async *reads() {
    const Key = { id: `${KEY}-1` };
    yield await client.send(new GetItemCommand({ TableName: users, Key: { id: { S: Key.id } } }));
    yield await send(new GetCommand({ TableName: users, Key, ConsistentRead: true }));
    yield await send(new GetCommand({ TableName: users, Key: { id: `${KEY}-none` } }));
    yield await send(new GetCommand({
      TableName: users, Key, ProjectionExpression: "#n, props.k", ExpressionAttributeNames: { "#n": "name" },
    }));
    const Keys = [0, 1, 2, 99].map((number) => ({ id: `${KEY}-${number}` }));
    const batch = await send(new BatchGetCommand({ RequestItems: { [users]: { Keys } } }));
    yield sorted(batch.Responses[users]);
  },

  async *writes() {
    const Key = { id: `${KEY}-written` };
    const Item = {
      ...Key, name: "Ann", age: 5, big: 4611686018427387904n, score: 0.1, active: true, data: new Uint8Array([0, 255]),
      tags: new Set(["b", "a"]), props: { k: "v", "dotted.key": "w" }, notes: ["x", "y", "x"], version: undefined,
    };
    yield await send(new PutCommand({ TableName: users, Item, ReturnValues: "ALL_OLD" }));
    yield await send(new GetCommand({ TableName: users, Key }));
    yield await send(new PutCommand({ TableName: users, Item: { ...Key, name: "Bob" }, ReturnValues: "ALL_OLD" }));
    for (const id of [`${KEY}-3`, `${KEY}-fresh`]) {
      yield await send(new UpdateCommand({
        TableName: users, Key: { id }, UpdateExpression: "SET age = :a, #p = :p REMOVE score, tags",
        ExpressionAttributeNames: { "#p": "props" }, ExpressionAttributeValues: { ":a": 41, ":p": { new: "map" } },
      }));
      yield await send(new GetCommand({ TableName: users, Key: { id } }));
    }
    yield await send(new DeleteCommand({ TableName: users, Key: { id: `${KEY}-4` } }));
    yield await send(new GetCommand({ TableName: users, Key: { id: `${KEY}-4` } }));
    const puts = [...Array(10).keys()].map((age) => ({ PutRequest: { Item: { id: `${KEY}-batch-${age}`, age } } }));
    const deletes = [{ DeleteRequest: { Key: { id: `${KEY}-5` } } }];
    yield await send(new BatchWriteCommand({ RequestItems: { [users]: [...puts, ...deletes] } }));
    const Keys = [...puts.map((put) => ({ id: put.PutRequest.Item.id })), { id: `${KEY}-5` }];
    const batch = await send(new BatchGetCommand({ RequestItems: { [users]: { Keys, ProjectionExpression: "age" } } }));
    yield sorted(batch.Responses[users]);
  },

  async *queries() {
    const input = {
      TableName: events, KeyConditionExpression: "p = :p", ExpressionAttributeValues: { ":p": KEY },
    };
    const more = (values) => ({ ...input.ExpressionAttributeValues, ...values });
    yield await all(paginateQuery({ client: documents, pageSize: 3 }, { ...input }));
    yield await all(paginateQuery({ client: documents }, { ...input, Limit: 2, ScanIndexForward: false }));
    yield await send(new QueryCommand({ ...input, Select: "COUNT" }));
    yield await send(new QueryCommand({
      ...input, KeyConditionExpression: "p = :p AND #at BETWEEN :a AND :b", FilterExpression: "NOT what IN (:w, :v)",
      ExpressionAttributeNames: { "#at": "at" }, ExpressionAttributeValues: more({ ":a": 2, ":b": 5, ":w": "w3", ":v": "w4" }),
    }));
    yield await send(new QueryCommand({
      ...input, TableName: notes, KeyConditionExpression: "p = :p AND begins_with(title, :t)",
      ExpressionAttributeValues: more({ ":t": "b" }),
    }));
    await send(new PutCommand({ TableName: events, Item: { p: KEY, at: 3, what: "changed" } }));
    await send(new DeleteCommand({ TableName: events, Key: { p: KEY, at: 4 } }));
    yield await all(paginateQuery({ client: documents, pageSize: 2 }, { ...input }));
  },

  async *scans() {
    for (const part of [0, 1, 2, 3]) {
      await send(new PutCommand({ TableName: notes, Item: { p: `${KEY}-${part}`, title: "t", owner: KEY } }));
    }
    const input = {
      TableName: notes, FilterExpression: "#o = :o", ExpressionAttributeNames: { "#o": "owner" },
      ExpressionAttributeValues: { ":o": KEY },
    };
    yield sorted(await all(paginateScan({ client: documents, pageSize: 5 }, { ...input })));
    const parts = [0, 1].map((Segment) => all(paginateScan({ client: documents }, { ...input, Segment, TotalSegments: 2 })));
    yield sorted((await Promise.all(parts)).flat());
  },

  async *counters() {
    for (const act of [`${KEY}-1`, `${KEY}-new`]) {
      const add = { TableName: votes, Key: { act }, UpdateExpression: "ADD n :n", ExpressionAttributeValues: { ":n": 5 } };
      yield await send(new UpdateCommand(add));
      yield await send(new UpdateCommand({ ...add, ReturnValues: "UPDATED_NEW" }));
      yield await send(new UpdateCommand({
        ...add, UpdateExpression: "SET n = if_not_exists(n, :z) + :n", ExpressionAttributeValues: { ":n": 3, ":z": 0 },
        ReturnValues: "ALL_NEW",
      }));
      yield await send(new GetCommand({ TableName: votes, Key: { act } }));
    }
  },

  async *mistakes() {
    yield await refused(send(new GetCommand({ TableName: users, Key: { id: 1 } }))).then(([name]) => name);
    yield await refused(send(new GetCommand({ TableName: `${PREFIX}-nothing`, Key: { id: "1" } }))).then(([name]) => name);
    const bad = { TableName: users, Key: { id: { S: "x" } }, UpdateExpression: "SET age = :b" };
    yield await refused(client.send(new UpdateItemCommand(bad))).then(([name]) => name);
    const item = { id: { S: "x" }, age: { N: "1x" } };
    yield await refused(client.send(new PutItemCommand({ TableName: users, Item: item }))).then(([name]) => name);
  },

  async *conditions() {
    const [TableName, Key] = [users, { id: `${KEY}-cond` }];
    const fresh = { TableName, Item: { ...Key, age: 1, version: 1 }, ConditionExpression: "attribute_not_exists(id)" };
    yield await send(new PutCommand(fresh));
    yield await refused(send(new PutCommand({ ...fresh, ReturnValuesOnConditionCheckFailure: "ALL_OLD" })));
    yield await send(new UpdateCommand({
      TableName, Key, UpdateExpression: "SET version = version + :one, notes = list_append(if_not_exists(notes, :none), :more)",
      ConditionExpression: "version = :one AND attribute_not_exists(#n)", ExpressionAttributeNames: { "#n": "name" },
      ExpressionAttributeValues: { ":one": 1, ":none": [], ":more": ["m"] }, ReturnValues: "ALL_NEW",
    }));
    yield await refused(send(new DeleteCommand({
      TableName, Key, ConditionExpression: "age < :z", ExpressionAttributeValues: { ":z": 0 },
    })));
    yield await send(new DeleteCommand({
      TableName, Key, ConditionExpression: "attribute_exists(id)", ReturnValues: "ALL_OLD",
    }));
    // A row that was there before the migration.
    yield await send(new UpdateCommand({
      TableName, Key: { id: `${KEY}-6` }, UpdateExpression: "SET age = age + :one", ConditionExpression: "age = :six",
      ExpressionAttributeValues: { ":one": 1, ":six": 6 }, ReturnValues: "ALL_NEW",
    }));
  },

  async *transactions() {
    const [one, two] = [{ id: `${KEY}-t1` }, { id: `${KEY}-t2` }];
    const Put = { TableName: users, Item: { ...one, age: 1 } };
    const Update = {
      TableName: users, Key: two, UpdateExpression: "SET age = :a", ExpressionAttributeValues: { ":a": 2 },
    };
    const ConditionCheck = {
      TableName: events, Key: { p: KEY, at: 0 }, ConditionExpression: "attribute_exists(p)",
    };
    yield await send(new TransactWriteCommand({ TransactItems: [{ Put }, { Update }, { ConditionCheck }] }));
    const gets = [one, two].map((Key) => ({ Get: { TableName: users, Key } }));
    yield await send(new TransactGetCommand({ TransactItems: gets }));
    const again = { Put: { ...Put, ConditionExpression: "attribute_not_exists(id)" } };
    const [name, , , reasons] = await refused(send(new TransactWriteCommand({ TransactItems: [again, { Delete: { TableName: users, Key: two } }] })));
    yield [name, reasons];
    yield await send(new TransactGetCommand({ TransactItems: gets }));
  },

  async *mapper_dynamoose() {
    const User = users_of_dynamoose();
    yield shown(await User.get(`${KEY}-7`));
    const user = new User({ id: `${KEY}-moose`, name: "D", age: 3, tags: new Set(["x"]) });
    await user.save();
    yield shown(await User.get(user.id));
    yield shown(await User.update({ id: user.id }, { $SET: { age: 4 }, $REMOVE: ["name"] }));
    yield (await User.batchGet([user.id, `${KEY}-7`])).map((found) => found.id).sort();
    yield (await User.query("id").eq(user.id).exec()).map(shown);
    yield (await User.scan("id").beginsWith(`${KEY}-moose`).all().exec()).map(shown);
    await User.delete(user.id);
    yield (await User.get(user.id)) ?? "gone";
  },

  async *conditions_dynamoose() {
    const User = users_of_dynamoose();
    const user = { id: `${KEY}-created`, age: 1 };
    yield shown(await User.create(user));
    yield await refused(User.create(user));
    yield shown(await User.update({ id: user.id }, { $ADD: { age: 5 } }));
    yield await refused(User.delete(user.id, { condition: new dynamoose.Condition().where("age").lt(0) }));
  },

  async *mapper_electro() {
    const user = users_of_electro();
    const key = { name: `${KEY}-electro` };
    yield await user.put({ ...key, age: 3, tags: ["x"] }).go();
    yield await user.get(key).go();
    yield await user.query.byName(key).go();
    yield await user.update(key).set({ age: 4 }).remove(["tags"]).go({ response: "all_new" });
    yield await user.delete(key).go();
    yield await user.get(key).go();
  },

  async *conditions_electro() {
    const user = users_of_electro();
    const key = { name: `${KEY}-electro-made` };
    yield await user.create({ ...key, age: 3 }).go();
    const again = await refused(user.create({ ...key, age: 3 }).go());
    yield again[1].split(" - ")[0];
    yield await user.patch(key).add({ age: 2 }).append({ notes: ["n"] }).go({ response: "all_new" });
    yield await user.remove(key).go();
  },
};

let moose;
function users_of_dynamoose() {
  if (moose) return moose;
  dynamoose.aws.ddb.set(new dynamoose.aws.ddb.DynamoDB(settings));
  const schema = new dynamoose.Schema({
    id: String, name: String, age: Number, tags: { type: Set, schema: [String] },
  });
  // It asks for the table's description first.
  moose = dynamoose.model(users, schema, { create: false, waitForActive: true });
  return moose;
}

function users_of_electro() {
  const model = {
    model: { entity: "user", version: "1", service: "crowd" },
    attributes: {
      name: { type: "string" }, age: { type: "number" }, tags: { type: "set", items: "string" },
      notes: { type: "list", items: { type: "string" } },
    },
    indexes: { byName: { pk: { field: "id", composite: ["name"] } } },
  };
  return new Entity(model, { client: documents, table: users });
}

// The first read opens connections, which takes as long as the machine is busy.
for (let left = 60; left > 0; left--) {
  const answered = await send(new GetCommand({ TableName: users, Key: { id: KEY } })).catch(() => null);
  if (answered) break;
}

for (const [step, run] of Object.entries(steps)) {
  const seen = [];
  try {
    for await (const result of run()) seen.push(plain(result ?? null));
  } catch (error) {
    // ElectroDB puts an error of its own around the SDK's.
    seen.push(plain(told(error.cause ?? error)));
  }
  console.log(JSON.stringify({ step, seen }));
}
