import java.io.ByteArrayOutputStream;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.InetAddress;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.UUID;

/**
 * The keys of migrated tables: from a row's key columns to the key attributes of its item.
 *
 * <p>The rules are those of docs/keys.md; the examples in tests/fixtures/keys.json are its test. One file, no
 * dependency, Java 17 or later. Copy it into the application.
 *
 * <pre>
 * var votes = new CrossfadeKeys(List.of(
 *     new CrossfadeKeys.Column("show", "text", CrossfadeKeys.Role.PARTITION),
 *     new CrossfadeKeys.Column("round", "int", CrossfadeKeys.Role.PARTITION),
 *     new CrossfadeKeys.Column("act", "text", CrossfadeKeys.Role.ASCENDING)));
 * votes.of(Map.of("show", "the-big-night", "round", 3, "act", "act 7"));
 * // pk: S the-big-night#3, act: S act 7
 * </pre>
 *
 * <p>A value is a String, Byte, Short, Integer, Long, BigInteger, BigDecimal, Boolean, Float, Double, byte[] (blob),
 * UUID, InetAddress, LocalDate, LocalTime or Instant, as its column has it. Any value may also be {@link Cql}: the
 * bytes that CQL holds, which is the only form for collections, tuples and user-defined types. (An IPv4 address that is
 * mapped into IPv6 is only kept apart as Cql: InetAddress takes it for IPv4.)
 */
public final class CrossfadeKeys {
    /** What a column is in its table. */
    public enum Role { PARTITION, ASCENDING, DESCENDING, STATIC, REGULAR }

    /** A column with its CQL type. A user-defined type is {@code udt<type, ...>}: its fields in their order. */
    public record Column(String name, String type, Role role) {}

    /** A value as the bytes that CQL holds. */
    public record Cql(byte[] bytes) {}

    /** A key attribute: its type (S, N or B), and its text or its bytes. */
    public record Attribute(String type, String text, byte[] bytes) {
        static Attribute s(String text) { return new Attribute("S", text, null); }
        static Attribute n(String text) { return new Attribute("N", text, null); }
        static Attribute b(byte[] bytes) { return new Attribute("B", null, bytes); }
    }

    private record Type(String name, List<Type> inner, int length) {}

    private record Typed(String name, Type type, Role role) {}

    private static final Map<String, Integer> INTEGERS =
        Map.of("tinyint", 1, "smallint", 2, "int", 4, "bigint", 8, "timestamp", 8, "time", 8);
    private static final Map<String, Integer> FIXED = Map.of(
        "boolean", 1, "int", 4, "float", 4, "bigint", 8, "double", 8, "timestamp", 8, "uuid", 16, "timeuuid", 16);
    private static final String HASHED = "#sha256:";
    private static final Set<String> COMPOSITES = Set.of("list", "set", "map", "tuple", "vector");

    private final List<Typed> partition = new ArrayList<>();
    private final List<Typed> clustering = new ArrayList<>();
    private final String partitionName;
    private final String sortName;
    private final boolean hashes;
    private final boolean inverts;

    /** All columns of a table, in the order of its schema. */
    public CrossfadeKeys(List<Column> columns) {
        this(columns, null, null, false);
    }

    /** The same with what the plan's {@code keys} say; null and false where they say nothing. */
    public CrossfadeKeys(List<Column> columns, String partitionName, String sortName, boolean partitionHash) {
        boolean hasStatics = false;
        Set<Role> directions = new HashSet<>();
        for (Column column : columns) {
            Typed typed = new Typed(column.name(), parse(column.type()), column.role());
            switch (column.role()) {
                case PARTITION -> partition.add(typed);
                case ASCENDING, DESCENDING -> {
                    clustering.add(typed);
                    directions.add(column.role());
                }
                case STATIC -> hasStatics = true;
                case REGULAR -> { }
            }
        }
        if (partition.isEmpty()) throw new IllegalArgumentException("a table has a partition key");
        this.hashes = partitionHash;
        boolean isPlain = isPlainPartition() && !partitionHash;
        this.partitionName = partitionName != null ? partitionName : isPlain ? null : "pk";
        boolean isMade = !clustering.isEmpty() && !isPlainSort(hasStatics);
        this.sortName = sortName != null ? sortName : isMade ? "sk" : null;
        this.inverts = directions.size() == 2;
    }

    private static boolean isNumber(String name) {
        return INTEGERS.containsKey(name) || name.equals("date");
    }

    private static boolean isText(String name) {
        return name.equals("text") || name.equals("ascii");
    }

    private boolean isPlainPartition() {
        String name = partition.get(0).type().name();
        boolean isPlain = isNumber(name) || isText(name)
            || Set.of("uuid", "timeuuid", "inet", "decimal", "blob").contains(name);
        return partition.size() == 1 && isPlain;
    }

    private boolean isPlainSort(boolean hasStatics) {
        String name = clustering.get(0).type().name();
        return clustering.size() == 1 && !hasStatics && (isNumber(name) || isText(name));
    }

    /**
     * The key attributes of a row, from its key columns by name. Without clustering columns where the table has some,
     * those of its partition's static columns.
     *
     * @throws IllegalArgumentException if a column is missing or unknown, a value isn't of its type, or a key is longer
     *     than DynamoDB takes
     */
    public Map<String, Attribute> of(Map<String, ?> key) {
        List<Typed> columns = new ArrayList<>(partition);
        columns.addAll(clustering);
        Map<String, byte[]> raw = new LinkedHashMap<>();
        List<String> missing = new ArrayList<>();
        for (Typed column : columns) {
            if (key.containsKey(column.name())) raw.put(column.name(), encode(column.type(), key.get(column.name())));
            else missing.add(column.name());
        }
        if (raw.size() != key.size()) throw new IllegalArgumentException("there are other columns in " + key.keySet());
        boolean isStatic = !missing.isEmpty() && missing.equals(clustering.stream().map(Typed::name).toList());
        if (!missing.isEmpty() && !isStatic) throw new IllegalArgumentException("key columns are missing: " + missing);
        Map<String, Attribute> attributes = new LinkedHashMap<>();
        addPartition(attributes, raw);
        if (!clustering.isEmpty()) addSort(attributes, raw, isStatic);
        return attributes;
    }

    private void addPartition(Map<String, Attribute> to, Map<String, byte[]> raw) {
        if (partitionName == null) {
            Typed one = partition.get(0);
            to.put(one.name(), plain(one.type(), raw.get(one.name()), 2048, "partition"));
            return;
        }
        List<String> parts = new ArrayList<>();
        for (Typed one : partition) {
            String text = part(one.type(), raw.get(one.name()));
            parts.add(partition.size() > 1 ? text.replace("\\", "\\\\").replace("#", "\\#") : text);
        }
        String whole = String.join("#", parts);
        boolean isLong = whole.getBytes(StandardCharsets.UTF_8).length > 2048;
        if (hashes && (isLong || whole.startsWith(HASHED))) whole = HASHED + sha256(whole);
        limit(whole.getBytes(StandardCharsets.UTF_8).length, 2048, "partition");
        to.put(partitionName, Attribute.s(whole));
    }

    private void addSort(Map<String, Attribute> to, Map<String, byte[]> raw, boolean isStatic) {
        if (sortName == null) {
            Typed one = clustering.get(0);
            if (isStatic) throw new IllegalArgumentException("the table has no static columns");
            to.put(one.name(), plain(one.type(), raw.get(one.name()), 1024, "sort"));
            return;
        }
        ByteArrayOutputStream whole = new ByteArrayOutputStream();
        if (isStatic) whole.write(0);
        for (Typed one : isStatic ? List.<Typed>of() : clustering) {
            byte[] next = component(one.type(), raw.get(one.name()));
            whole.writeBytes(one.role() == Role.DESCENDING && inverts ? inverted(next) : next);
        }
        limit(whole.size(), 1024, "sort");
        to.put(sortName, Attribute.b(whole.toByteArray()));
    }

    private static String sha256(String text) {
        try {
            return hex(MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8)));
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException("every Java has SHA-256", error);
        }
    }

    private static void limit(int size, int most, String what) {
        if (size > most) {
            throw new IllegalArgumentException("the " + what + " key has " + size + " bytes, DynamoDB takes " + most);
        }
    }

    private static Type parse(String text) {
        String whole = text.trim();
        int open = whole.indexOf('<');
        String name = (open < 0 ? whole : whole.substring(0, open)).trim().toLowerCase(Locale.ROOT);
        if (open < 0) return new Type(name.equals("varchar") ? "text" : name, List.of(), 0);
        if (!whole.endsWith(">")) throw new IllegalArgumentException("not a CQL type: " + text);
        String rest = whole.substring(open + 1, whole.length() - 1) + ",";
        List<String> pieces = new ArrayList<>();
        int depth = 0;
        int start = 0;
        for (int at = 0; at < rest.length(); at++) {
            char sign = rest.charAt(at);
            if (sign == '<') depth++;
            if (sign == '>') depth--;
            if (sign == ',' && depth == 0) {
                pieces.add(rest.substring(start, at));
                start = at + 1;
            }
        }
        if (name.equals("frozen")) return parse(pieces.get(0));
        if (name.equals("vector")) {
            return new Type(name, List.of(parse(pieces.get(0))), Integer.parseInt(pieces.get(1).trim()));
        }
        return new Type(name.equals("udt") ? "tuple" : name, pieces.stream().map(CrossfadeKeys::parse).toList(), 0);
    }

    /** The size of a type's values inside a vector, where all have one (else 0): they have no length before them there. */
    private static int fixedSize(Type type) {
        if (type.name().equals("vector")) return fixedSize(type.inner().get(0)) * type.length();
        return FIXED.getOrDefault(type.name(), 0);
    }

    /** The values within a value: bytes, or null. */
    private static List<byte[]> elements(Type type, byte[] raw) {
        ByteBuffer in = ByteBuffer.wrap(raw);
        List<byte[]> found = new ArrayList<>();
        if (type.name().equals("vector")) {
            while (found.size() < type.length()) {
                int size = fixedSize(type.inner().get(0));
                found.add(take(in, size > 0 ? size : unsignedVint(in)));
            }
            return found;
        }
        int count = type.name().equals("tuple") ? -1 : in.getInt() * (type.name().equals("map") ? 2 : 1);
        while (count < 0 ? in.hasRemaining() : found.size() < count) {
            int size = in.getInt();
            found.add(size < 0 ? null : take(in, size));
        }
        return found;
    }

    private static byte[] take(ByteBuffer in, int size) {
        if (size > in.remaining()) throw new IllegalArgumentException("the value's CQL bytes end too early");
        byte[] out = new byte[size];
        in.get(out);
        return out;
    }

    private static int unsignedVint(ByteBuffer in) {
        int first = in.get() & 0xff;
        int more = Integer.numberOfLeadingZeros(~first << 24);
        long value = first & (0xff >> (more + 1));
        for (int count = 0; count < more; count++) value = value << 8 | in.get() & 0xff;
        return Math.toIntExact(value);
    }

    /** A value as the bytes that CQL holds. */
    private static byte[] encode(Type type, Object value) {
        String name = type.name();
        if (value instanceof Cql cql) return cql.bytes();
        if (value instanceof String text && isText(name)) return text.getBytes(StandardCharsets.UTF_8);
        if (value instanceof byte[] bytes && name.equals("blob")) return bytes;
        if (value instanceof Boolean is && name.equals("boolean")) return new byte[] {(byte) (is ? 1 : 0)};
        if (value instanceof UUID id && (name.equals("uuid") || name.equals("timeuuid"))) {
            return ByteBuffer.allocate(16)
                .putLong(id.getMostSignificantBits())
                .putLong(id.getLeastSignificantBits())
                .array();
        }
        if (value instanceof InetAddress address && name.equals("inet")) return address.getAddress();
        if (value instanceof BigDecimal decimal && name.equals("decimal")) {
            byte[] unscaled = decimal.unscaledValue().toByteArray();
            return ByteBuffer.allocate(4 + unscaled.length).putInt(decimal.scale()).put(unscaled).array();
        }
        if (value instanceof Float number && name.equals("float")) return ByteBuffer.allocate(4).putFloat(number).array();
        if (value instanceof Double number && name.equals("double")) {
            return ByteBuffer.allocate(8).putDouble(number).array();
        }
        if (value instanceof Instant at && name.equals("timestamp")) return integer(at.toEpochMilli(), 8);
        if (value instanceof LocalDate day && name.equals("date")) return integer(day.toEpochDay() + (1L << 31), 4, true);
        if (value instanceof LocalTime time && name.equals("time")) return integer(time.toNanoOfDay(), 8);
        if (value instanceof BigInteger number && name.equals("varint")) return number.toByteArray();
        if (value instanceof Byte || value instanceof Short || value instanceof Integer || value instanceof Long) {
            long number = ((Number) value).longValue();
            if (name.equals("varint")) return BigInteger.valueOf(number).toByteArray();
            if (name.equals("date")) return integer(number + (1L << 31), 4, true);
            if (INTEGERS.containsKey(name)) return integer(number, INTEGERS.get(name));
        }
        throw new IllegalArgumentException(value + " is no " + name + "; use Cql for its CQL bytes");
    }

    private static byte[] integer(long value, int size) {
        return integer(value, size, false);
    }

    private static byte[] integer(long value, int size, boolean isUnsigned) {
        int bits = size * 8 - (isUnsigned ? 0 : 1);
        boolean fits = bits >= 63 || (isUnsigned ? value >= 0 && value >>> bits == 0 : value >> bits == value >> 63);
        if (!fits) throw new IllegalArgumentException(value + " doesn't fit in " + size + " bytes");
        byte[] whole = ByteBuffer.allocate(8).putLong(value).array();
        return Arrays.copyOfRange(whole, 8 - size, 8);
    }

    private static byte[] inverted(byte[] raw) {
        byte[] out = raw.clone();
        for (int at = 0; at < out.length; at++) out[at] ^= (byte) 0xff;
        return out;
    }

    private static byte[] concat(byte[]... pieces) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (byte[] piece : pieces) out.writeBytes(piece);
        return out.toByteArray();
    }

    private static String hex(byte[] raw) {
        StringBuilder out = new StringBuilder();
        for (byte one : raw) out.append(String.format("%02x", one));
        return out.toString();
    }

    private static String number(Type type, byte[] raw) {
        if (type.name().equals("date")) return new BigInteger(1, raw).subtract(BigInteger.ONE.shiftLeft(31)).toString();
        return new BigInteger(raw).toString();
    }

    /** The attribute of a column that is the key itself. */
    private static Attribute plain(Type type, byte[] raw, int most, String what) {
        if (raw.length == 0) throw new IllegalArgumentException("an empty value can't be a key attribute");
        if (type.name().equals("blob")) {
            limit(raw.length, most, what);
            return Attribute.b(raw);
        }
        if (isNumber(type.name())) return Attribute.n(number(type, raw));
        String text = part(type, raw);
        limit(text.getBytes(StandardCharsets.UTF_8).length, most, what);
        return Attribute.s(text);
    }

    /** The text of a part of a partition key. */
    private static String part(Type type, byte[] raw) {
        String name = type.name();
        if (isText(name)) {
            try {
                return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(raw)).toString();
            } catch (CharacterCodingException error) {
                throw new IllegalArgumentException("its bytes aren't text", error);
            }
        }
        if (raw.length > 0) {
            if (isNumber(name)) return number(type, raw);
            if (name.equals("uuid") || name.equals("timeuuid")) {
                ByteBuffer in = ByteBuffer.wrap(raw);
                return new UUID(in.getLong(), in.getLong()).toString();
            }
            if (name.equals("inet")) return inet(raw);
            if (name.equals("decimal") && raw.length > 4) {
                byte[] bytes = Arrays.copyOfRange(raw, 4, raw.length);
                BigInteger unscaled = new BigInteger(bytes);
                if (Arrays.equals(unscaled.toByteArray(), bytes)) {
                    return unscaled + "E" + -(long) ByteBuffer.wrap(raw).getInt();
                }
            }
        }
        return "0x" + hex(raw);
    }

    /** As RFC 5952 writes it. */
    private static String inet(byte[] raw) {
        ByteBuffer in = ByteBuffer.wrap(raw);
        if (raw.length == 4) return dotted(raw, 0);
        int[] groups = new int[8];
        for (int at = 0; at < 8; at++) groups[at] = in.getShort() & 0xffff;
        boolean isMapped = groups[5] == 0xffff && Arrays.stream(groups, 0, 5).allMatch(group -> group == 0);
        if (isMapped) return "::ffff:" + dotted(raw, 12);
        int from = 0;
        int length = 0;
        for (int at = 0; at < 8; at++) {
            int zeros = 0;
            while (at + zeros < 8 && groups[at + zeros] == 0) zeros++;
            if (zeros > length) {
                from = at;
                length = zeros;
            }
        }
        if (length < 2) return joined(groups, 0, 8);
        return joined(groups, 0, from) + "::" + joined(groups, from + length, 8);
    }

    private static String dotted(byte[] raw, int from) {
        List<String> parts = new ArrayList<>();
        for (int at = from; at < from + 4; at++) parts.add(String.valueOf(raw[at] & 0xff));
        return String.join(".", parts);
    }

    private static String joined(int[] groups, int from, int to) {
        List<String> parts = new ArrayList<>();
        for (int at = from; at < to; at++) parts.add(Integer.toHexString(groups[at]));
        return String.join(":", parts);
    }

    /** A component of a made sort key: its header and its body. */
    private static byte[] component(Type type, byte[] raw) {
        if (raw.length == 0 && !isText(type.name()) && !type.name().equals("blob")) return new byte[] {1};
        return concat(new byte[] {2}, body(type, raw));
    }

    private static byte[] body(Type type, byte[] raw) {
        String name = type.name();
        if (INTEGERS.containsKey(name)) {
            byte[] out = raw.clone();
            out[0] ^= (byte) 0x80;
            return out;
        }
        if (name.equals("date") || name.equals("boolean")) return raw;
        if (name.equals("float") || name.equals("double")) return floating(name, raw);
        if (name.equals("varint")) return varint(raw);
        if (name.equals("decimal")) return decimal(raw);
        if (name.equals("uuid")) {
            byte version = (byte) ((raw[6] & 0xff) >> 4);
            byte[] rest = version == 1 ? concat(byTime(raw), Arrays.copyOfRange(raw, 8, 16)) : raw;
            return concat(new byte[] {version}, rest);
        }
        if (name.equals("timeuuid")) {
            byte[] low = Arrays.copyOfRange(raw, 8, 16);
            for (int at = 0; at < 8; at++) low[at] ^= (byte) 0x80;
            return concat(byTime(raw), low);
        }
        if (COMPOSITES.contains(name)) return within(type, raw);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (byte one : raw) {
            out.write(one);
            if (one == 0) out.write(0xff);
        }
        out.write(0);
        out.write(1);
        return out.toByteArray();
    }

    private static byte[] byTime(byte[] raw) {
        return new byte[] {raw[6], raw[7], raw[4], raw[5], raw[0], raw[1], raw[2], raw[3]};
    }

    /** The body of a value that holds others. */
    private static byte[] within(Type type, byte[] raw) {
        List<byte[]> found = elements(type, raw);
        boolean isTuple = type.name().equals("tuple");
        while (isTuple && !found.isEmpty() && found.get(found.size() - 1) == null) found.remove(found.size() - 1);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (int at = 0; at < found.size(); at++) {
            byte[] one = found.get(at);
            if (one == null && !isTuple) {
                throw new IllegalArgumentException("a collection with a null in it can't be a key");
            }
            if (isTuple) out.write(one == null ? 1 : 2);
            if (one == null) continue;
            int place = isTuple ? at : type.name().equals("map") ? at % 2 : 0;
            out.writeBytes(component(type.inner().get(place), one));
        }
        if (!type.name().equals("vector")) out.write(0);
        return out.toByteArray();
    }

    private static byte[] floating(String name, byte[] raw) {
        ByteBuffer in = ByteBuffer.wrap(raw);
        // Java's own conversion to bits makes every NaN the same.
        byte[] out = name.equals("float")
            ? ByteBuffer.allocate(4).putInt(Float.floatToIntBits(in.getFloat())).array()
            : ByteBuffer.allocate(8).putLong(Double.doubleToLongBits(in.getDouble())).array();
        if (out[0] < 0) return inverted(out);
        out[0] |= (byte) 0x80;
        return out;
    }

    private static byte[] varint(byte[] raw) {
        BigInteger value = new BigInteger(raw);
        byte[] digits = unsigned(value.abs());
        int length = value.signum() < 0 ? 0x8000 - digits.length : 0x8000 + digits.length;
        byte[] header = {(byte) (length >> 8), (byte) length};
        return concat(header, value.signum() < 0 ? inverted(digits) : digits);
    }

    private static byte[] unsigned(BigInteger value) {
        byte[] raw = value.toByteArray();
        return raw[0] == 0 ? Arrays.copyOfRange(raw, 1, raw.length) : raw;
    }

    private static byte[] decimal(byte[] raw) {
        BigInteger unscaled = new BigInteger(Arrays.copyOfRange(raw, 4, raw.length));
        if (unscaled.signum() == 0) return new byte[] {2};
        String digits = unscaled.abs().toString();
        long before = digits.length() - (long) ByteBuffer.wrap(raw).getInt();
        digits = digits.replaceAll("0+$", "");
        if (digits.length() % 2 == 1) digits += "0";
        ByteArrayOutputStream rest = new ByteArrayOutputStream();
        rest.writeBytes(ByteBuffer.allocate(8).putLong(before ^ Long.MIN_VALUE).array());
        for (int at = 0; at < digits.length(); at += 2) rest.write(Integer.parseInt(digits.substring(at, at + 2)) + 1);
        rest.write(0);
        byte[] out = rest.toByteArray();
        return unscaled.signum() > 0 ? concat(new byte[] {3}, out) : concat(new byte[] {1}, inverted(out));
    }
}
