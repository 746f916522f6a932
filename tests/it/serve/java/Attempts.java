// Does what a line on stdin says (`add`, `put` or `get`), with as many attempts as the SDK makes of itself, and says what
// came of it: `ok`, or the error's code.
//
//     Attempts ENDPOINT PREFIX

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.util.Map;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.DynamoDbException;

public final class Attempts {
    public static void main(String[] arguments) throws IOException {
        DynamoDbClient client = DynamoDbClient.builder()
                .endpointOverride(URI.create(arguments[0]))
                .region(Region.US_EAST_1)
                .httpClient(UrlConnectionHttpClient.create())
                .build();
        String users = arguments[1] + "-users", votes = arguments[1] + "-votes";
        AttributeValue one = AttributeValue.fromN("1"), user = AttributeValue.fromS("u");
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                switch (line.trim()) {
                    case "add" -> client.updateItem(by -> by.tableName(votes)
                            .key(Map.of("act", AttributeValue.fromS("a"))).updateExpression("ADD n :one")
                            .expressionAttributeValues(Map.of(":one", one)));
                    case "put" -> client.putItem(by -> by.tableName(users).item(Map.of("id", user, "age", one)));
                    default -> client.getItem(by -> by.tableName(users).key(Map.of("id", user)));
                }
                System.out.println("ok");
            } catch (DynamoDbException error) {
                System.out.println(error.awsErrorDetails().errorCode());
            } catch (SdkException error) {
                System.out.println(error.getClass().getSimpleName());
            }
        }
    }
}
