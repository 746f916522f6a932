import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.InetAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;

/** Runs the examples of tests/fixtures/keys.json: its path is the argument. */
public final class CrossfadeKeysTest {
    private static int passed;

    public static void main(String[] arguments) throws Exception {
        examples(Path.of(arguments[0]));
        int examples = passed;
        check(examples > 30, "only " + examples + " examples");
        values();
        refusals();
        System.out.println(passed + " passed, 0 failed");
    }

    private static void check(boolean is, Object otherwise) {
        if (!is) throw new AssertionError(otherwise);
        passed++;
    }

    private static Map<String, String> shown(Map<String, CrossfadeKeys.Attribute> attributes) {
        Map<String, String> out = new LinkedHashMap<>();
        attributes.forEach((name, one) -> {
            String value = one.text() != null ? one.text() : HexFormat.of().formatHex(one.bytes());
            out.put(name, one.type() + " " + value);
        });
        return out;
    }

    @SuppressWarnings("unchecked")
    private static void examples(Path path) throws Exception {
        var whole = (Map<String, Object>) new Json(Files.readString(path)).value();
        for (var table : (List<Map<String, Object>>) whole.get("tables")) {
            List<CrossfadeKeys.Column> columns = new ArrayList<>();
            for (var column : (List<Map<String, String>>) table.get("columns")) {
                var role = CrossfadeKeys.Role.valueOf(column.get("role").toUpperCase(Locale.ROOT));
                columns.add(new CrossfadeKeys.Column(column.get("name"), column.get("type"), role));
            }
            var names = (Map<String, String>) table.getOrDefault("keys", Map.of());
            boolean hashes = "true".equals(names.get("partition_hash"));
            var keys = new CrossfadeKeys(columns, names.get("partition"), names.get("sort"), hashes);
            for (var row : (List<Map<String, Object>>) table.get("rows")) {
                Map<String, Object> key = new LinkedHashMap<>();
                ((Map<String, String>) row.get("key")).forEach((name, text) ->
                    key.put(name, new CrossfadeKeys.Cql(HexFormat.of().parseHex(text.substring(2)))));
                Map<String, String> wanted = new LinkedHashMap<>();
                ((Map<String, Map<String, String>>) row.get("item")).forEach((name, one) ->
                    one.forEach((type, value) -> wanted.put(name, type + " " + value)));
                Map<String, String> got = shown(keys.of(key));
                check(got.equals(wanted), table.get("about") + " " + row.get("key") + ": " + got + ", not " + wanted);
            }
        }
    }

    private static CrossfadeKeys.Column column(String name, String type, CrossfadeKeys.Role role) {
        return new CrossfadeKeys.Column(name, type, role);
    }

    private static void values() throws Exception {
        var part = CrossfadeKeys.Role.PARTITION;
        var sort = CrossfadeKeys.Role.ASCENDING;
        var keys = new CrossfadeKeys(List.of(
            column("t", "text", part), column("u", "uuid", part), column("d", "decimal", part),
            column("day", "date", part), column("ip", "inet", part), column("at", "timestamp", sort),
            column("v", "varint", sort)));
        Map<String, Object> key = Map.of(
            "t", "a#b", "u", UUID.fromString("123e4567-e89b-42d3-a456-426614174000"), "d", new BigDecimal("1.10"),
            "day", LocalDate.of(1970, 1, 2), "ip", InetAddress.getByName("2001:db8::1"),
            "at", Instant.ofEpochMilli(1500), "v", BigInteger.valueOf(-256));
        Map<String, String> wanted = Map.of(
            "pk", "S a\\#b#123e4567-e89b-42d3-a456-426614174000#110E-2#1#2001:db8::1",
            "sk", "B 0280000000000005dc" + "027ffe" + "feff");
        check(shown(keys.of(key)).equals(wanted), shown(keys.of(key)));
    }

    private static void refusals() {
        var keys = new CrossfadeKeys(List.of(
            column("id", "text", CrossfadeKeys.Role.PARTITION), column("n", "int", CrossfadeKeys.Role.ASCENDING)));
        List<Map<String, Object>> wrong = List.of(
            Map.of("id", "a", "x", 1), Map.of("n", 1), Map.of("id", ""), Map.of("id", "a".repeat(3000), "n", 1),
            Map.of("id", 7, "n", 1), Map.of("id", "a", "n", 1L << 40));
        for (var key : wrong) {
            try {
                throw new AssertionError(key + ": " + shown(keys.of(key)));
            } catch (IllegalArgumentException refused) {
                passed++;
            }
        }
    }

    /** Just enough of JSON for the examples. */
    private static final class Json {
        private final String text;
        private int at;

        Json(String text) {
            this.text = text;
        }

        private char peek() {
            while (Character.isWhitespace(text.charAt(at))) at++;
            return text.charAt(at);
        }

        private boolean take(char sign) {
            if (peek() != sign) return false;
            at++;
            return true;
        }

        Object value() {
            if (take('{')) {
                Map<String, Object> map = new LinkedHashMap<>();
                while (!take('}')) {
                    String name = (String) value();
                    take(':');
                    map.put(name, value());
                    take(',');
                }
                return map;
            }
            if (take('[')) {
                List<Object> list = new ArrayList<>();
                while (!take(']')) {
                    list.add(value());
                    take(',');
                }
                return list;
            }
            if (peek() == '"') return string();
            int from = at;
            while (Character.isLetterOrDigit(text.charAt(at))) at++;
            return text.substring(from, at);
        }

        private String string() {
            StringBuilder out = new StringBuilder();
            for (at++; text.charAt(at) != '"'; at++) {
                if (text.charAt(at) != '\\') {
                    out.append(text.charAt(at));
                    continue;
                }
                char escaped = text.charAt(++at);
                if (escaped == 'u') {
                    out.append((char) Integer.parseInt(text.substring(at + 1, at + 5), 16));
                    at += 4;
                } else {
                    out.append(escaped);
                }
            }
            at++;
            return out.toString();
        }
    }
}
