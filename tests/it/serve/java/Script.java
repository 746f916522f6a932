// What applications do to their tables, by the AWS SDK's client and its mapper, the Enhanced Client: one JSON line for
// each step, with what came of it. The same lines have to come from a sidecar in every phase, and from DynamoDB itself
// afterwards.
//
//     Script ENDPOINT PREFIX KEY
//
// Tables are PREFIX-users, -events, -notes, -votes. Rows that were there before begin with KEY.

import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.enhanced.dynamodb.DynamoDbEnhancedClient;
import software.amazon.awssdk.enhanced.dynamodb.DynamoDbTable;
import software.amazon.awssdk.enhanced.dynamodb.Expression;
import software.amazon.awssdk.enhanced.dynamodb.Key;
import software.amazon.awssdk.enhanced.dynamodb.TableSchema;
import software.amazon.awssdk.enhanced.dynamodb.extensions.annotations.DynamoDbVersionAttribute;
import software.amazon.awssdk.enhanced.dynamodb.mapper.annotations.DynamoDbBean;
import software.amazon.awssdk.enhanced.dynamodb.mapper.annotations.DynamoDbPartitionKey;
import software.amazon.awssdk.enhanced.dynamodb.mapper.annotations.DynamoDbSortKey;
import software.amazon.awssdk.enhanced.dynamodb.model.PutItemEnhancedRequest;
import software.amazon.awssdk.enhanced.dynamodb.model.QueryConditional;
import software.amazon.awssdk.enhanced.dynamodb.model.ReadBatch;
import software.amazon.awssdk.enhanced.dynamodb.model.ScanEnhancedRequest;
import software.amazon.awssdk.enhanced.dynamodb.model.WriteBatch;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.CancellationReason;
import software.amazon.awssdk.services.dynamodb.model.ConditionalCheckFailedException;
import software.amazon.awssdk.services.dynamodb.model.DynamoDbException;
import software.amazon.awssdk.services.dynamodb.model.KeysAndAttributes;
import software.amazon.awssdk.services.dynamodb.model.ReturnValue;
import software.amazon.awssdk.services.dynamodb.model.ReturnValuesOnConditionCheckFailure;
import software.amazon.awssdk.services.dynamodb.model.Select;
import software.amazon.awssdk.services.dynamodb.model.TransactWriteItem;
import software.amazon.awssdk.services.dynamodb.model.TransactionCanceledException;
import software.amazon.awssdk.services.dynamodb.model.UpdateItemResponse;

public final class Script {
    private final String key, users, events, notes, votes, prefix;
    private final DynamoDbClient client;
    private final DynamoDbEnhancedClient mapper;

    private Script(String endpoint, String prefix, String key) {
        this.key = key;
        this.prefix = prefix;
        users = prefix + "-users";
        events = prefix + "-events";
        notes = prefix + "-notes";
        votes = prefix + "-votes";
        client = DynamoDbClient.builder()
                .endpointOverride(URI.create(endpoint))
                .region(Region.US_EAST_1)
                .httpClient(UrlConnectionHttpClient.builder().socketTimeout(Duration.ofSeconds(60)).build())
                .overrideConfiguration(by -> by.retryStrategy(retry -> retry.maxAttempts(1)))
                .build();
        mapper = DynamoDbEnhancedClient.builder().dynamoDbClient(client).build();
    }

    public static void main(String[] arguments) {
        Script script = new Script(arguments[0], arguments[1], arguments[2]);
        script.connect();
        Map<String, Consumer<List<Object>>> steps = new LinkedHashMap<>();
        steps.put("reads", script::reads);
        steps.put("writes", script::writes);
        steps.put("queries", script::queries);
        steps.put("scans", script::scans);
        steps.put("counters", script::counters);
        steps.put("mistakes", script::mistakes);
        steps.put("conditions", script::conditions);
        steps.put("transactions", script::transactions);
        steps.put("mapper", script::mapper);
        steps.put("conditions_mapper", script::conditionsOfTheMapper);
        steps.forEach((name, step) -> {
            List<Object> seen = new ArrayList<>();
            try {
                step.accept(seen);
            } catch (SdkException error) {
                seen.add(told(error));
            }
            System.out.println(script.json(Map.of("step", name, "seen", seen)));
        });
    }

    /** The first read opens connections, which takes as long as the machine is busy. */
    private void connect() {
        for (int left = 60; left > 0; left--) {
            try {
                client.getItem(by -> by.tableName(users).key(id(key)));
                return;
            } catch (SdkException error) {
                continue;
            }
        }
    }

    private void reads(List<Object> seen) {
        Map<String, AttributeValue> old = id(key + "-1");
        seen.add(client.getItem(by -> by.tableName(users).key(old)).item());
        seen.add(client.getItem(by -> by.tableName(users).key(id(key + "-none"))).hasItem());
        seen.add(client.getItem(by -> by.tableName(users).key(old).consistentRead(true)
                .projectionExpression("#n, props.k").expressionAttributeNames(Map.of("#n", "name"))).item());
        List<Map<String, AttributeValue>> keys = IntStream.of(0, 1, 2, 99).mapToObj(number -> id(key + "-" + number)).toList();
        KeysAndAttributes wanted = KeysAndAttributes.builder().keys(keys).build();
        seen.add(sorted(client.batchGetItem(by -> by.requestItems(Map.of(users, wanted))).responses().get(users)));
    }

    private void writes(List<Object> seen) {
        Map<String, AttributeValue> item = new TreeMap<>(id(key + "-written"));
        item.put("name", s("Ann"));
        item.put("age", n(5));
        item.put("big", n(1L << 62));
        item.put("score", AttributeValue.fromN("0.1"));
        item.put("active", AttributeValue.fromBool(true));
        item.put("data", AttributeValue.fromB(SdkBytes.fromByteArray(new byte[] {0, -1})));
        item.put("tags", AttributeValue.fromSs(List.of("b", "a")));
        item.put("props", AttributeValue.fromM(Map.of("k", s("v"), "dotted.key", s("w"))));
        item.put("notes", AttributeValue.fromL(List.of(s("x"), s("y"), s("x"))));
        seen.add(client.putItem(by -> by.tableName(users).item(item).returnValues(ReturnValue.ALL_OLD)).attributes());
        seen.add(client.getItem(by -> by.tableName(users).key(id(key + "-written"))).item());
        seen.add(client.putItem(by -> by.tableName(users).item(id(key + "-written"))
                .returnValues(ReturnValue.ALL_OLD)).attributes());
        for (String name : List.of(key + "-3", key + "-fresh")) {
            UpdateItemResponse updated = client.updateItem(by -> by.tableName(users).key(id(name))
                    .updateExpression("SET age = :a, props = :p REMOVE score, tags")
                    .expressionAttributeValues(Map.of(":a", n(41), ":p", AttributeValue.fromM(Map.of("new", s("map"))))));
            seen.add(updated.attributes());
            seen.add(client.getItem(by -> by.tableName(users).key(id(name))).item());
        }
        seen.add(client.deleteItem(by -> by.tableName(users).key(id(key + "-4"))).attributes());
        seen.add(client.getItem(by -> by.tableName(users).key(id(key + "-4"))).hasItem());
    }

    private void queries(List<Object> seen) {
        Map<String, AttributeValue> mine = Map.of(":p", s(key));
        seen.add(client.queryPaginator(by -> by.tableName(events).keyConditionExpression("p = :p").limit(3)
                .expressionAttributeValues(mine)).items().stream().toList());
        seen.add(client.queryPaginator(by -> by.tableName(events).keyConditionExpression("p = :p").limit(2)
                .scanIndexForward(false).expressionAttributeValues(mine)).items().stream().toList());
        seen.add(client.query(by -> by.tableName(events).keyConditionExpression("p = :p").select(Select.COUNT)
                .expressionAttributeValues(mine)).count());
        seen.add(client.query(by -> by.tableName(notes).keyConditionExpression("p = :p AND begins_with(title, :t)")
                .filterExpression("attribute_exists(what)")
                .expressionAttributeValues(Map.of(":p", s(key), ":t", s("b")))).items());
        client.putItem(by -> by.tableName(events).item(Map.of("p", s(key), "at", n(3), "what", s("changed"))));
        client.deleteItem(by -> by.tableName(events).key(Map.of("p", s(key), "at", n(4))));
        seen.add(client.queryPaginator(by -> by.tableName(events).keyConditionExpression("p = :p AND #at BETWEEN :a AND :b")
                .expressionAttributeNames(Map.of("#at", "at")).limit(2)
                .expressionAttributeValues(Map.of(":p", s(key), ":a", n(2), ":b", n(6)))).items().stream().toList());
    }

    private void scans(List<Object> seen) {
        for (int part = 0; part < 4; part++) {
            String p = key + "-" + part;
            client.putItem(by -> by.tableName(notes).item(Map.of("p", s(p), "title", s("t"), "owner", s(key))));
        }
        List<Object> parts = new ArrayList<>();
        for (int segment = 0; segment < 2; segment++) {
            int part = segment;
            client.scanPaginator(by -> by.tableName(notes).filterExpression("#o = :o").segment(part).totalSegments(2)
                    .expressionAttributeNames(Map.of("#o", "owner")).expressionAttributeValues(Map.of(":o", s(key))))
                    .items().forEach(parts::add);
        }
        seen.add(sorted(parts));
    }

    private void counters(List<Object> seen) {
        for (String act : List.of(key + "-1", key + "-new")) {
            Map<String, AttributeValue> of = Map.of("act", s(act));
            seen.add(client.updateItem(by -> by.tableName(votes).key(of).updateExpression("ADD n :n")
                    .expressionAttributeValues(Map.of(":n", n(5)))).attributes());
            seen.add(client.updateItem(by -> by.tableName(votes).key(of).updateExpression("SET n = if_not_exists(n, :z) + :n")
                    .expressionAttributeValues(Map.of(":n", n(3), ":z", n(0))).returnValues(ReturnValue.UPDATED_NEW))
                    .attributes());
            seen.add(client.getItem(by -> by.tableName(votes).key(of)).item());
        }
    }

    private void mistakes(List<Object> seen) {
        seen.add(code(() -> client.getItem(by -> by.tableName(users).key(Map.of("id", n(1))))));
        seen.add(code(() -> client.getItem(by -> by.tableName(prefix + "-nothing").key(id("1")))));
        seen.add(code(() -> client.updateItem(by -> by.tableName(users).key(id("x")).updateExpression("SET age = :b"))));
    }

    private void conditions(List<Object> seen) {
        Map<String, AttributeValue> of = id(key + "-cond");
        Map<String, AttributeValue> item = new TreeMap<>(of);
        item.putAll(Map.of("age", n(1), "version", n(1)));
        Callable<?> put = () -> client.putItem(by -> by.tableName(users).item(item)
                .conditionExpression("attribute_not_exists(id)")
                .returnValuesOnConditionCheckFailure(ReturnValuesOnConditionCheckFailure.ALL_OLD));
        seen.add(refused(put));
        seen.add(refused(put));
        seen.add(client.updateItem(by -> by.tableName(users).key(of)
                .updateExpression("SET version = version + :one, notes = list_append(if_not_exists(notes, :none), :more)")
                .conditionExpression("version = :one AND attribute_not_exists(#n)")
                .expressionAttributeNames(Map.of("#n", "name"))
                .expressionAttributeValues(Map.of(":one", n(1), ":none", AttributeValue.fromL(List.of()), ":more",
                        AttributeValue.fromL(List.of(s("m")))))
                .returnValues(ReturnValue.ALL_NEW)).attributes());
        seen.add(refused(() -> client.deleteItem(by -> by.tableName(users).key(of).conditionExpression("age < :z")
                .expressionAttributeValues(Map.of(":z", n(0))))));
        // A row that was there before the migration.
        seen.add(client.updateItem(by -> by.tableName(users).key(id(key + "-6")).updateExpression("SET age = age + :one")
                .conditionExpression("age = :six").expressionAttributeValues(Map.of(":one", n(1), ":six", n(6)))
                .returnValues(ReturnValue.ALL_NEW)).attributes());
    }

    private void transactions(List<Object> seen) {
        Map<String, AttributeValue> one = id(key + "-t1"), two = id(key + "-t2");
        TransactWriteItem put = TransactWriteItem.builder().put(by -> by.tableName(users).item(one)
                .conditionExpression("attribute_not_exists(id)")).build();
        TransactWriteItem update = TransactWriteItem.builder().update(by -> by.tableName(users).key(two)
                .updateExpression("SET age = :a").expressionAttributeValues(Map.of(":a", n(2)))).build();
        TransactWriteItem delete = TransactWriteItem.builder().delete(by -> by.tableName(users).key(two)).build();
        client.transactWriteItems(by -> by.transactItems(put, update));
        seen.add(refused(() -> client.transactWriteItems(by -> by.transactItems(put, delete))));
        seen.add(client.transactGetItems(by -> by.transactItems(
                get -> get.get(of -> of.tableName(users).key(one)), get -> get.get(of -> of.tableName(users).key(two))))
                .responses().stream().map(found -> found.item()).toList());
    }

    private void mapper(List<Object> seen) {
        DynamoDbTable<User> table = mapper.table(users, TableSchema.fromBean(User.class));
        seen.add(table.getItem(Key.builder().partitionValue(key + "-7").build()).told());
        User user = new User();
        user.setId(key + "-mapped");
        user.setName("M");
        user.setAge(3);
        user.setTags(Set.of("x"));
        table.putItem(user);
        user.setAge(4);
        user.setName(null);
        seen.add(table.updateItem(user).told());
        mapper.batchWriteItem(by -> by.addWriteBatch(WriteBatch.builder(User.class).mappedTableResource(table)
                .addDeleteItem(Key.builder().partitionValue(key + "-5").build()).build()));
        seen.add(sorted(mapper.batchGetItem(by -> by.addReadBatch(ReadBatch.builder(User.class).mappedTableResource(table)
                .addGetItem(Key.builder().partitionValue(key + "-5").build())
                .addGetItem(Key.builder().partitionValue(key + "-7").build()).build()))
                .resultsForTable(table).stream().map(User::told).toList()));
        seen.add(table.query(QueryConditional.keyEqualTo(by -> by.partitionValue(user.getId()))).items().stream()
                .map(User::told).toList());
        seen.add(sorted(table.scan(ScanEnhancedRequest.builder().filterExpression(Expression.builder()
                .expression("begins_with(id, :i)").putExpressionValue(":i", s(key + "-map")).build()).build()).items()
                .stream().map(User::told).toList()));
        seen.add(table.deleteItem(user).told());
        DynamoDbTable<Event> of = mapper.table(events, TableSchema.fromBean(Event.class));
        seen.add(of.query(QueryConditional.sortGreaterThanOrEqualTo(by -> by.partitionValue(key).sortValue(5))).items()
                .stream().map(event -> event.getAt() + " " + event.getWhat()).toList());
    }

    private void conditionsOfTheMapper(List<Object> seen) {
        DynamoDbTable<Versioned> table = mapper.table(users, TableSchema.fromBean(Versioned.class));
        Versioned user = new Versioned();
        user.setId(key + "-versioned");
        user.setAge(1);
        seen.add(table.updateItem(user).told());
        user.setAge(2);
        // Somebody else was quicker: this one has no version yet.
        seen.add(refused(() -> table.updateItem(user)));
        user.setVersion(1);
        seen.add(table.updateItem(user).told());
        seen.add(refused(() -> {
            table.putItem(PutItemEnhancedRequest.builder(Versioned.class).item(user).build());
            return null;
        }));
    }

    @DynamoDbBean
    public static class User {
        private String id, name;
        private Integer age;
        private Set<String> tags;

        @DynamoDbPartitionKey
        public String getId() { return id; }
        public void setId(String id) { this.id = id; }
        public String getName() { return name; }
        public void setName(String name) { this.name = name; }
        public Integer getAge() { return age; }
        public void setAge(Integer age) { this.age = age; }
        public Set<String> getTags() { return tags; }
        public void setTags(Set<String> tags) { this.tags = tags; }

        List<Object> told() { return Arrays.asList(id, name, age, tags == null ? null : sorted(tags)); }
    }

    @DynamoDbBean
    public static class Versioned {
        private String id;
        private Integer age, version;

        @DynamoDbPartitionKey
        public String getId() { return id; }
        public void setId(String id) { this.id = id; }
        public Integer getAge() { return age; }
        public void setAge(Integer age) { this.age = age; }
        @DynamoDbVersionAttribute
        public Integer getVersion() { return version; }
        public void setVersion(Integer version) { this.version = version; }

        List<Object> told() { return Arrays.asList(id, age, version); }
    }

    @DynamoDbBean
    public static class Event {
        private String p, what;
        private Integer at;

        @DynamoDbPartitionKey
        public String getP() { return p; }
        public void setP(String p) { this.p = p; }
        @DynamoDbSortKey
        public Integer getAt() { return at; }
        public void setAt(Integer at) { this.at = at; }
        public String getWhat() { return what; }
        public void setWhat(String what) { this.what = what; }
    }

    private static AttributeValue s(String text) { return AttributeValue.fromS(text); }

    private static AttributeValue n(long number) { return AttributeValue.fromN(Long.toString(number)); }

    private static Map<String, AttributeValue> id(String id) { return Map.of("id", s(id)); }

    /** What the application learns of an error. */
    private static List<Object> told(SdkException error) {
        if (!(error instanceof DynamoDbException said)) {
            return List.of(error.getClass().getSimpleName(), String.valueOf(error.getMessage()));
        }
        List<Object> told = new ArrayList<>();
        told.add(said.awsErrorDetails().errorCode());
        if (error instanceof ConditionalCheckFailedException failed) {
            told.add(failed.item());
        } else if (error instanceof TransactionCanceledException cancelled) {
            told.add(cancelled.cancellationReasons().stream().map(CancellationReason::code).toList());
        } else {
            told.add(said.awsErrorDetails().errorMessage());
        }
        return told;
    }

    /** An error that is meant to come. */
    private static Object refused(Callable<?> call) {
        try {
            call.call();
            return "not refused";
        } catch (DynamoDbException error) {
            if (error.awsErrorDetails().errorCode().equals("ServiceUnavailable")) {
                throw error;
            }
            return told(error);
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private static Object code(Callable<?> call) {
        return refused(call) instanceof List<?> told ? told.get(0) : "not refused";
    }

    private static List<Object> sorted(Collection<?> of) {
        return of.stream().map(Object.class::cast).sorted(Comparator.comparing(Objects::toString)).toList();
    }

    /** As JSON, in an order of its own where DynamoDB promises none. */
    private String json(Object value) {
        if (value instanceof AttributeValue attribute) {
            return json(switch (attribute.type()) {
                case S -> attribute.s();
                case N -> "N " + attribute.n();
                case B -> HexFormat.of().formatHex(attribute.b().asByteArray());
                case BOOL -> attribute.bool();
                case SS -> sorted(attribute.ss());
                case NS -> sorted(attribute.ns());
                case L -> attribute.l();
                case M -> attribute.m();
                default -> attribute.type().toString();
            });
        }
        if (value instanceof Map<?, ?> map) {
            return new TreeMap<>(map).entrySet().stream()
                    .map(entry -> json(entry.getKey()) + ": " + json(entry.getValue()))
                    .collect(Collectors.joining(", ", "{", "}"));
        }
        if (value instanceof Collection<?> all) {
            return all.stream().map(this::json).collect(Collectors.joining(", ", "[", "]"));
        }
        if (value instanceof String text) {
            String plain = text.replace(key, "KEY").replace(prefix, "PREFIX");
            return '"' + plain.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + '"';
        }
        return String.valueOf(value);
    }
}
