"""The keys of migrated tables: from a row's key columns to the key attributes of its item.

The rules are those of docs/keys.md; the examples in tests/fixtures/keys.json are its test (test_keys.py). One file,
no dependency, Python 3.8 or later. Copy it into the application.

    votes = Keys([("show", "text", "partition"), ("round", "int", "partition"), ("act", "text", "ascending")])
    votes.of({"show": "the-big-night", "round": 3, "act": "act 7"})
    # {"pk": {"S": "the-big-night#3"}, "act": {"S": "act 7"}}

A value is a str, int, bool, float, bytes, uuid.UUID, decimal.Decimal, datetime.date, datetime.time,
datetime.datetime (aware) or ipaddress address, as its column has it; any value may also be Cql(bytes): the bytes
that CQL holds, which is the only form for collections, tuples and user-defined types. The attributes are in the
form of boto3's client.
"""

import calendar
import datetime
import decimal
import hashlib
import ipaddress
import struct
import uuid

INTEGERS = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8, "timestamp": 8, "time": 8}
NUMBERS = set(INTEGERS) | {"date"}
TEXTS = {"text", "ascii", "varchar"}
HASHED = "#sha256:"


class Cql(bytes):
    """A value as the bytes that CQL holds."""


class Keys:
    """The keys of one table.

    columns: (name, CQL type, role) in the order of the table's schema; a role is "partition", "ascending",
    "descending", "static" or "regular". partition, sort and partition_hash are what the plan's `keys` say, if they
    say anything.
    """

    def __init__(self, columns, partition=None, sort=None, partition_hash=False):
        self.partition = [(name, parse(ty)) for name, ty, role in columns if role == "partition"]
        self.clustering = [
            (name, parse(ty), role == "descending") for name, ty, role in columns if role in ("ascending", "descending")
        ]
        if not self.partition:
            raise ValueError("a table has a partition key")
        has_statics = any(role == "static" for _, _, role in columns)
        self.hashes = partition_hash
        is_plain = self._is_plain_partition() and not partition_hash
        self.partition_name = partition or (None if is_plain else "pk")
        self.sort_name = sort
        if self.clustering and not sort and not self._is_plain_sort(has_statics):
            self.sort_name = "sk"
        directions = {is_descending for _, _, is_descending in self.clustering}
        self.inverts = len(directions) == 2

    def _is_plain_partition(self):
        ty = self.partition[0][1].name
        plain = NUMBERS | TEXTS | {"uuid", "timeuuid", "inet", "decimal", "blob"}
        return len(self.partition) == 1 and ty in plain

    def _is_plain_sort(self, has_statics):
        return len(self.clustering) == 1 and not has_statics and self.clustering[0][1].name in NUMBERS | TEXTS

    def of(self, key):
        """The key attributes of a row, from its key columns by name. Without clustering columns where the table
        has some, those of its partition's static columns."""
        names = [name for name, _ in self.partition] + [name for name, _, _ in self.clustering]
        unknown = set(key) - set(names)
        if unknown:
            raise ValueError("no key column: " + ", ".join(sorted(unknown)))
        missing = [name for name, _ in self.partition if name not in key]
        given = [name for name, _, _ in self.clustering if name in key]
        if missing or (given and len(given) < len(self.clustering)):
            raise ValueError("key columns are missing: " + ", ".join(name for name in names if name not in key))
        attributes = dict([self._partition(key)])
        if self.clustering:
            attributes.update([self._sort(key, is_static=not given)])
        return attributes

    def _partition(self, key):
        if self.partition_name is None:
            name, ty = self.partition[0]
            return name, attribute(ty, encode(ty, key[name]), 2048, "partition")
        parts = [part(ty, encode(ty, key[name])) for name, ty in self.partition]
        if len(parts) > 1:
            parts = [text.replace("\\", "\\\\").replace("#", "\\#") for text in parts]
        text = "#".join(parts)
        if self.hashes and (len(text.encode()) > 2048 or text.startswith(HASHED)):
            text = HASHED + hashlib.sha256(text.encode()).hexdigest()
        return self.partition_name, {"S": limited(text, 2048, "partition")}

    def _sort(self, key, is_static):
        if self.sort_name is None:
            name, ty, _ = self.clustering[0]
            if is_static:
                raise ValueError("the table has no static columns")
            return name, attribute(ty, encode(ty, key[name]), 1024, "sort")
        if is_static:
            return self.sort_name, {"B": b"\x00"}
        whole = b""
        for name, ty, is_descending in self.clustering:
            one = component(ty, encode(ty, key[name]))
            whole += inverted(one) if is_descending and self.inverts else one
        return self.sort_name, {"B": limited(whole, 1024, "sort")}


def limited(value, most, what):
    size = len(value.encode() if isinstance(value, str) else value)
    if size > most:
        raise ValueError("the %s key has %d bytes, DynamoDB takes %d" % (what, size, most))
    return value


# Types ---------------------------------------------------------------------------------------------------------


class Type:
    """A CQL type: its name, and the types within it. Of a vector, how many elements it has."""

    def __init__(self, name, inner=(), length=0):
        self.name, self.inner, self.length = name, list(inner), length


def parse(text):
    """A CQL type from its text. A user-defined type is written as `udt<type, …>`: its fields in their order."""
    text = text.strip()
    name, bracket, rest = text.partition("<")
    name = name.strip().lower()
    if not bracket:
        return Type("text" if name == "varchar" else name)
    if not rest.endswith(">"):
        raise ValueError("not a CQL type: " + text)
    inner, depth, start = [], 0, 0
    rest = rest[:-1]
    for at, sign in enumerate(rest + ","):
        depth += (sign == "<") - (sign == ">")
        if sign == "," and depth == 0:
            inner.append(rest[start:at])
            start = at + 1
    if name == "frozen":
        return parse(inner[0])
    if name == "vector":
        return Type("vector", [parse(inner[0])], int(inner[1]))
    return Type("tuple" if name == "udt" else name, [parse(one) for one in inner])


FIXED = {"boolean": 1, "tinyint": 1, "smallint": 2, "int": 4, "float": 4, "date": 4, "bigint": 8, "double": 8}
FIXED.update({"timestamp": 8, "uuid": 16, "timeuuid": 16})


def fixed_size(ty):
    """The size of a type's values inside a vector, where all have one: they have no length before them there."""
    if ty.name == "vector":
        inner = fixed_size(ty.inner[0])
        return None if inner is None else inner * ty.length
    # Cassandra takes these for types of any length.
    return None if ty.name in ("tinyint", "smallint", "date", "time") else FIXED.get(ty.name)


def elements(ty, raw):
    """The values within a value: bytes, or None for null."""
    if ty.name == "vector":
        return vector_elements(ty, raw)
    if ty.name == "tuple":
        return framed(raw, 0, None)
    (count,) = struct.unpack_from(">i", raw)
    return framed(raw, 4, count * (2 if ty.name == "map" else 1))


def framed(raw, at, count):
    found = []
    while at < len(raw) if count is None else len(found) < count:
        (size,) = struct.unpack_from(">i", raw, at)
        at += 4
        found.append(None if size < 0 else raw[at : at + size])
        at += max(size, 0)
    return found


def vector_elements(ty, raw):
    size, at, found = fixed_size(ty.inner[0]), 0, []
    for _ in range(ty.length):
        this = size
        if size is None:
            this, at = unsigned_vint(raw, at)
        found.append(raw[at : at + this])
        at += this
    return found


def unsigned_vint(raw, at):
    more = 0
    while more < 8 and raw[at] & (0x80 >> more):
        more += 1
    value = raw[at] & (0xFF >> (more + 1)) if more < 8 else 0
    for byte in raw[at + 1 : at + 1 + more]:
        value = value << 8 | byte
    return value, at + 1 + more


# Values as CQL bytes -------------------------------------------------------------------------------------------


def encode(ty, value):
    """A value as the bytes that CQL holds."""
    if isinstance(value, Cql):
        return bytes(value)
    name = ty.name
    if value is None:
        raise ValueError("a key column is never null")
    if name in TEXTS and isinstance(value, str):
        return value.encode()
    if name == "blob" and isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if name == "boolean" and isinstance(value, bool):
        return b"\x01" if value else b"\x00"
    if name in ("uuid", "timeuuid") and isinstance(value, (uuid.UUID, str)):
        return uuid.UUID(str(value)).bytes
    if name == "inet":
        return ipaddress.ip_address(value).packed
    if name == "decimal" and isinstance(value, (decimal.Decimal, int)) and not isinstance(value, bool):
        sign, digits, exponent = decimal.Decimal(value).as_tuple()
        if not isinstance(exponent, int):
            raise ValueError("a decimal is a finite number")
        unscaled = int("".join(map(str, digits))) * (-1 if sign else 1)
        return struct.pack(">i", -exponent) + signed(unscaled)
    if name in ("float", "double") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return struct.pack(">f" if name == "float" else ">d", value)
    if isinstance(value, datetime.datetime) and name == "timestamp":
        if value.tzinfo is None:
            raise ValueError("a timestamp needs a time zone")
        whole = calendar.timegm(value.utctimetuple())
        return struct.pack(">q", whole * 1000 + value.microsecond // 1000)
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime) and name == "date":
        return struct.pack(">I", (value - datetime.date(1970, 1, 1)).days + (1 << 31))
    if isinstance(value, datetime.time) and name == "time":
        seconds = (value.hour * 60 + value.minute) * 60 + value.second
        return struct.pack(">q", (seconds * 1_000_000 + value.microsecond) * 1000)
    if isinstance(value, int) and not isinstance(value, bool):
        if name == "varint":
            return signed(value)
        if name == "date":
            return struct.pack(">I", value + (1 << 31))
        if name in INTEGERS:
            return value.to_bytes(INTEGERS[name], "big", signed=True)
    raise TypeError("%r is no %s; use Cql(bytes) for its CQL bytes" % (value, name))


def signed(number):
    size = (number + (number < 0)).bit_length() // 8 + 1
    return number.to_bytes(size, "big", signed=True)


def is_shortest(raw):
    return len(raw) > 0 and signed(int.from_bytes(raw, "big", signed=True)) == raw


# Attributes and parts ------------------------------------------------------------------------------------------


def number(ty, raw):
    if ty.name == "date":
        return int.from_bytes(raw, "big") - (1 << 31)
    return int.from_bytes(raw, "big", signed=True)


def attribute(ty, raw, most, what):
    """The attribute of a column that is the key itself."""
    if not raw:
        raise ValueError("an empty value can't be a key attribute")
    if ty.name == "blob":
        return {"B": limited(raw, most, what)}
    if ty.name in NUMBERS:
        return {"N": str(number(ty, raw))}
    return {"S": limited(part(ty, raw), most, what)}


def part(ty, raw):
    """The text of a part of a partition key."""
    if ty.name in TEXTS:
        return raw.decode()
    if raw:
        if ty.name in NUMBERS:
            return str(number(ty, raw))
        if ty.name in ("uuid", "timeuuid"):
            return str(uuid.UUID(bytes=raw))
        if ty.name == "inet":
            address = ipaddress.ip_address(raw)
            mapped = address.version == 6 and address.ipv4_mapped
            return "::ffff:%s" % mapped if mapped else str(address)
        if ty.name == "decimal" and is_shortest(raw[4:]):
            (scale,) = struct.unpack(">i", raw[:4])
            return "%dE%d" % (int.from_bytes(raw[4:], "big", signed=True), -scale)
    return "0x" + raw.hex()


# Components of a sort key --------------------------------------------------------------------------------------


def component(ty, raw):
    """A component of a made sort key: its header and its body."""
    if not raw and ty.name not in TEXTS | {"blob"}:
        return b"\x01"
    return b"\x02" + body(ty, raw)


def inverted(raw):
    return bytes(byte ^ 0xFF for byte in raw)


def body(ty, raw):
    name = ty.name
    if name in INTEGERS:
        return bytes([raw[0] ^ 0x80]) + raw[1:]
    if name in ("date", "boolean"):
        return raw
    if name in ("float", "double"):
        return floating(name, raw)
    if name == "varint":
        return varint(raw)
    if name == "decimal":
        return decimal_body(raw)
    if name == "uuid":
        by_time = raw[6:8] + raw[4:6] + raw[0:4] + raw[8:]
        version = raw[6] >> 4
        return bytes([version]) + (by_time if version == 1 else raw)
    if name == "timeuuid":
        return raw[6:8] + raw[4:6] + raw[0:4] + bytes(byte ^ 0x80 for byte in raw[8:])
    if name in ("list", "set", "map", "tuple", "vector"):
        return within(ty, raw)
    return raw.replace(b"\x00", b"\x00\xff") + b"\x00\x01"


def within(ty, raw):
    """The body of a value that holds others."""
    found = elements(ty, raw)
    if ty.name == "tuple":
        while found and found[-1] is None:
            found.pop()
        fields = [b"\x01" if one is None else b"\x02" + component(inner, one) for inner, one in zip(ty.inner, found)]
        return b"".join(fields) + b"\x00"
    if any(one is None for one in found):
        raise ValueError("a collection with a null in it can't be a key")
    if ty.name == "map":
        inner = [ty.inner[at % 2] for at in range(len(found))]
    else:
        inner = [ty.inner[0]] * len(found)
    whole = b"".join(component(one, value) for one, value in zip(inner, found))
    return whole if ty.name == "vector" else whole + b"\x00"


def floating(name, raw):
    exponent, fraction = (0x7F800000, 0x7FFFFF) if name == "float" else (0x7FF << 52, (1 << 52) - 1)
    bits = int.from_bytes(raw, "big")
    if bits & exponent == exponent and bits & fraction:
        raw = bytes.fromhex("7fc00000" if name == "float" else "7ff8000000000000")
    if raw[0] & 0x80:
        return inverted(raw)
    return bytes([raw[0] | 0x80]) + raw[1:]


def varint(raw):
    value = int.from_bytes(raw, "big", signed=True)
    size = abs(value)
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    if value < 0:
        return struct.pack(">H", 0x8000 - len(digits)) + inverted(digits)
    return struct.pack(">H", 0x8000 + len(digits)) + digits


def decimal_body(raw):
    (scale,) = struct.unpack(">i", raw[:4])
    unscaled = int.from_bytes(raw[4:], "big", signed=True)
    if unscaled == 0:
        return b"\x02"
    digits = str(abs(unscaled))
    before = len(digits) - scale
    digits = digits.rstrip("0")
    if len(digits) % 2:
        digits += "0"
    pairs = bytes(int(digits[at : at + 2]) + 1 for at in range(0, len(digits), 2))
    rest = struct.pack(">Q", before + (1 << 63)) + pairs + b"\x00"
    return b"\x03" + rest if unscaled > 0 else b"\x01" + inverted(rest)
