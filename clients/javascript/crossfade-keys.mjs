// The keys of migrated tables: from a row's key columns to the key attributes of its item.
//
// The rules are those of docs/keys.md; the examples in tests/fixtures/keys.json are its test (keys.test.mjs). One
// file, no dependency, Node 18 or later. Copy it into the application.
//
//     const votes = new Keys([['show', 'text', 'partition'], ['round', 'int', 'partition'], ['act', 'text', 'ascending']]);
//     votes.of({ show: 'the-big-night', round: 3, act: 'act 7' });
//     // { pk: { S: 'the-big-night#3' }, act: { S: 'act 7' } }
//
// A value is a string (text, ascii, uuid, timeuuid, inet in its usual form, decimal such as '1.10'), a number or a
// bigint (integer types; date as days, time as nanoseconds, timestamp as milliseconds since 1970), a boolean, a Date
// (timestamp), or a Uint8Array (blob). Any value may also be `new Cql(bytes)`: the bytes that CQL holds, which is the
// only form for collections, tuples and user-defined types. The attributes are in the form of the AWS SDK's client.

import { createHash } from 'node:crypto';

const INTEGERS = { tinyint: 1, smallint: 2, int: 4, bigint: 8, timestamp: 8, time: 8 };
const TEXTS = new Set(['text', 'ascii']);
const NUMBERS = new Set([...Object.keys(INTEGERS), 'date']);
const HASHED = '#sha256:';
const COMPOSITES = new Set(['list', 'set', 'map', 'tuple', 'vector']);

/** A value as the bytes that CQL holds. */
export class Cql {
  constructor(bytes) {
    this.bytes = Uint8Array.from(bytes);
  }
}

/**
 * The keys of one table: its columns as [name, CQL type, role] in the order of the schema, a role being 'partition',
 * 'ascending', 'descending', 'static' or 'regular'; and what the plan's `keys` say, if they say anything.
 */
export class Keys {
  constructor(columns, names = {}) {
    const typed = columns.map(([name, type, role]) => ({ name, type: parse(type), role }));
    this.partition = typed.filter((column) => column.role === 'partition');
    this.clustering = typed.filter((column) => column.role === 'ascending' || column.role === 'descending');
    if (this.partition.length === 0) throw new Error('a table has a partition key');
    const hasStatics = typed.some((column) => column.role === 'static');
    this.hashes = names.partition_hash ?? false;
    this.partitionName = names.partition ?? (this.isPlainPartition() && !this.hashes ? null : 'pk');
    this.sortName = names.sort ?? null;
    if (this.clustering.length && !this.sortName && !this.isPlainSort(hasStatics)) this.sortName = 'sk';
    this.inverts = new Set(this.clustering.map((column) => column.role)).size === 2;
  }

  isPlainPartition() {
    const plain = new Set([...NUMBERS, ...TEXTS, 'uuid', 'timeuuid', 'inet', 'decimal', 'blob']);
    return this.partition.length === 1 && plain.has(this.partition[0].type.name);
  }

  isPlainSort(hasStatics) {
    const name = this.clustering[0].type.name;
    return this.clustering.length === 1 && !hasStatics && (NUMBERS.has(name) || TEXTS.has(name));
  }

  /**
   * The key attributes of a row, from its key columns by name. Without clustering columns where the table has some,
   * those of its partition's static columns.
   */
  of(key) {
    const columns = [...this.partition, ...this.clustering];
    const unknown = Object.keys(key).filter((name) => !columns.some((column) => column.name === name));
    if (unknown.length) throw new Error(`no key column: ${unknown.join(', ')}`);
    const missing = columns.filter((column) => !(column.name in key));
    const given = this.clustering.filter((column) => column.name in key);
    const lacksPartition = missing.some((column) => column.role === 'partition');
    if (lacksPartition || (given.length && given.length < this.clustering.length)) {
      throw new Error(`key columns are missing: ${missing.map((column) => column.name).join(', ')}`);
    }
    const attributes = this.partitionAttribute(key);
    if (this.clustering.length) Object.assign(attributes, this.sortAttribute(key, given.length === 0));
    return attributes;
  }

  partitionAttribute(key) {
    if (this.partitionName === null) {
      const [{ name, type }] = this.partition;
      return { [name]: attribute(type, encode(type, key[name]), 2048, 'partition') };
    }
    let parts = this.partition.map(({ name, type }) => part(type, encode(type, key[name])));
    if (parts.length > 1) parts = parts.map((text) => text.replace(/[\\#]/g, '\\$&'));
    let text = parts.join('#');
    if (this.hashes && (new TextEncoder().encode(text).length > 2048 || text.startsWith(HASHED))) {
      text = HASHED + createHash('sha256').update(text, 'utf8').digest('hex');
    }
    return { [this.partitionName]: { S: limited(text, 2048, 'partition') } };
  }

  sortAttribute(key, isStatic) {
    if (this.sortName === null) {
      const [{ name, type }] = this.clustering;
      if (isStatic) throw new Error('the table has no static columns');
      return { [name]: attribute(type, encode(type, key[name]), 1024, 'sort') };
    }
    if (isStatic) return { [this.sortName]: { B: Uint8Array.of(0) } };
    const components = this.clustering.map(({ name, type, role }) => {
      const one = component(type, encode(type, key[name]));
      return role === 'descending' && this.inverts ? inverted(one) : one;
    });
    return { [this.sortName]: { B: limited(concat(components), 1024, 'sort') } };
  }
}

function limited(value, most, what) {
  const size = typeof value === 'string' ? new TextEncoder().encode(value).length : value.length;
  if (size > most) throw new Error(`the ${what} key has ${size} bytes, DynamoDB takes ${most}`);
  return value;
}

// Types -------------------------------------------------------------------------------------------------------

/** A CQL type from its text. A user-defined type is written as `udt<type, …>`: its fields in their order. */
function parse(text) {
  const whole = text.trim();
  const open = whole.indexOf('<');
  const name = (open < 0 ? whole : whole.slice(0, open)).trim().toLowerCase();
  if (open < 0) return { name: name === 'varchar' ? 'text' : name, inner: [] };
  if (!whole.endsWith('>')) throw new Error(`not a CQL type: ${text}`);
  const inner = [];
  const rest = whole.slice(open + 1, -1);
  let [depth, start] = [0, 0];
  for (let at = 0; at <= rest.length; at += 1) {
    const sign = rest[at] ?? ',';
    depth += Number(sign === '<') - Number(sign === '>');
    if (sign === ',' && depth === 0) {
      inner.push(rest.slice(start, at));
      start = at + 1;
    }
  }
  if (name === 'frozen') return parse(inner[0]);
  if (name === 'vector') return { name, inner: [parse(inner[0])], length: Number(inner[1]) };
  return { name: name === 'udt' ? 'tuple' : name, inner: inner.map(parse) };
}

const FIXED = { boolean: 1, int: 4, float: 4, bigint: 8, double: 8, timestamp: 8, uuid: 16, timeuuid: 16 };

/** The size of a type's values inside a vector, where all have one: they have no length before them there. */
function fixedSize(type) {
  if (type.name !== 'vector') return FIXED[type.name] ?? null;
  const inner = fixedSize(type.inner[0]);
  return inner === null ? null : inner * type.length;
}

/** The values within a value: bytes, or null. */
function elements(type, raw) {
  if (type.name === 'vector') return vectorElements(type, raw);
  if (type.name === 'tuple') return framed(raw, 0, null);
  const count = view(raw).getInt32(0);
  return framed(raw, 4, count * (type.name === 'map' ? 2 : 1));
}

function framed(raw, from, count) {
  const found = [];
  let at = from;
  while (count === null ? at < raw.length : found.length < count) {
    const size = view(raw).getInt32(at);
    at += 4;
    found.push(size < 0 ? null : raw.slice(at, at + size));
    at += Math.max(size, 0);
  }
  return found;
}

function vectorElements(type, raw) {
  const found = [];
  const size = fixedSize(type.inner[0]);
  let at = 0;
  for (let count = 0; count < type.length; count += 1) {
    let here = size;
    if (size === null) [here, at] = unsignedVint(raw, at);
    found.push(raw.slice(at, at + here));
    at += here;
  }
  return found;
}

function unsignedVint(raw, at) {
  let more = 0;
  while (more < 8 && raw[at] & (0x80 >> more)) more += 1;
  let value = more < 8 ? raw[at] & (0xff >> (more + 1)) : 0;
  for (const byte of raw.slice(at + 1, at + 1 + more)) value = value * 256 + byte;
  return [value, at + 1 + more];
}

// Bytes -------------------------------------------------------------------------------------------------------

const view = (raw) => new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
const hex = (raw) => Array.from(raw, (byte) => byte.toString(16).padStart(2, '0')).join('');
const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const inverted = (raw) => raw.map((byte) => byte ^ 0xff);

function concat(pieces) {
  return Uint8Array.from(pieces.flatMap((piece) => Array.from(piece)));
}

/** The number that two's complement bytes say. */
function integer(raw) {
  return raw.length ? BigInt.asIntN(raw.length * 8, BigInt(`0x${hex(raw)}`)) : 0n;
}

function fixed(value, size) {
  if (BigInt.asIntN(size * 8, value) !== value) throw new RangeError(`${value} doesn't fit in ${size} bytes`);
  return unhex(BigInt.asUintN(size * 8, value).toString(16).padStart(size * 2, '0'));
}

/** The shortest two's complement bytes of a number. */
function signed(value) {
  let size = 1;
  while (BigInt.asIntN(size * 8, value) !== value) size += 1;
  return fixed(value, size);
}

// Values as CQL bytes -----------------------------------------------------------------------------------------

/** A value as the bytes that CQL holds. */
function encode(type, value) {
  if (value instanceof Cql) return value.bytes;
  const { name } = type;
  const isInteger = typeof value === 'bigint' || Number.isSafeInteger(value);
  if (TEXTS.has(name) && typeof value === 'string') return new TextEncoder().encode(value);
  if (name === 'blob' && value instanceof Uint8Array) return Uint8Array.from(value);
  if (name === 'boolean' && typeof value === 'boolean') return Uint8Array.of(value ? 1 : 0);
  if ((name === 'uuid' || name === 'timeuuid') && typeof value === 'string') return uuidBytes(value);
  if (name === 'inet' && typeof value === 'string') return inetBytes(value);
  if (name === 'decimal' && (typeof value === 'string' || isInteger)) return decimalBytes(String(value));
  if ((name === 'float' || name === 'double') && typeof value === 'number') {
    const raw = new Uint8Array(name === 'float' ? 4 : 8);
    if (name === 'float') view(raw).setFloat32(0, value);
    else view(raw).setFloat64(0, value);
    return raw;
  }
  if (name === 'timestamp' && value instanceof Date) return fixed(BigInt(value.getTime()), 8);
  if (isInteger) {
    if (name === 'varint') return signed(BigInt(value));
    if (name === 'date') return fixed(BigInt.asIntN(32, BigInt(value) + (1n << 31n)), 4);
    if (name in INTEGERS) return fixed(BigInt(value), INTEGERS[name]);
  }
  throw new TypeError(`${String(value)} is no ${name}; use new Cql(bytes) for its CQL bytes`);
}

function uuidBytes(text) {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new TypeError(`${text} is no uuid`);
  return unhex(text.replaceAll('-', ''));
}

function decimalBytes(text) {
  const found = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text);
  if (!found) throw new TypeError(`${text} is no decimal`);
  const [, sign, whole, fraction = '', exponent = '0'] = found;
  const scale = BigInt(fraction.length) - BigInt(exponent);
  return concat([fixed(scale, 4), signed(BigInt(`${whole}${fraction}`) * (sign ? -1n : 1n))]);
}

function inetBytes(text) {
  const four = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (four) {
    const bytes = four.slice(1).map(Number);
    if (bytes.every((byte) => byte < 256)) return Uint8Array.from(bytes);
  }
  const mapped = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (mapped) {
    const low = inetBytes(mapped[2]);
    return inetBytes(`${mapped[1]}${hex(low.slice(0, 2))}:${hex(low.slice(2))}`);
  }
  const halves = text.split('::');
  const groups = halves.map((half) => (half ? half.split(':') : []));
  const missing = 8 - groups.flat().length;
  const all = groups.length === 2 ? [...groups[0], ...Array(Math.max(missing, 0)).fill('0'), ...groups[1]] : groups[0];
  if (halves.length > 2 || all.length !== 8 || !all.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) {
    throw new TypeError(`${text} is no inet`);
  }
  return unhex(all.map((group) => group.padStart(4, '0')).join(''));
}

// Attributes and parts ----------------------------------------------------------------------------------------

function number(type, raw) {
  return String(type.name === 'date' ? BigInt(`0x${hex(raw)}`) - (1n << 31n) : integer(raw));
}

/** The attribute of a column that is the key itself. */
function attribute(type, raw, most, what) {
  if (raw.length === 0) throw new Error("an empty value can't be a key attribute");
  if (type.name === 'blob') return { B: limited(raw, most, what) };
  if (NUMBERS.has(type.name)) return { N: number(type, raw) };
  return { S: limited(part(type, raw), most, what) };
}

/** The text of a part of a partition key. */
function part(type, raw) {
  const { name } = type;
  if (TEXTS.has(name)) return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw);
  if (raw.length) {
    if (NUMBERS.has(name)) return number(type, raw);
    if (name === 'uuid' || name === 'timeuuid') return hex(raw).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    if (name === 'inet') return inetText(raw);
    if (name === 'decimal') {
      const unscaled = raw.slice(4);
      if (unscaled.length && hex(signed(integer(unscaled))) === hex(unscaled)) {
        return `${integer(unscaled)}E${-BigInt(view(raw).getInt32(0))}`;
      }
    }
  }
  return `0x${hex(raw)}`;
}

/** As RFC 5952 writes it. */
function inetText(raw) {
  if (raw.length === 4) return raw.join('.');
  const groups = Array.from({ length: 8 }, (_, at) => view(raw).getUint16(at * 2));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${raw.slice(12).join('.')}`;
  }
  let longest = { from: 0, length: 0 };
  for (let from = 0; from < 8; from += 1) {
    let length = 0;
    while (groups[from + length] === 0) length += 1;
    if (length > longest.length) longest = { from, length };
  }
  const text = (some) => some.map((group) => group.toString(16)).join(':');
  if (longest.length < 2) return text(groups);
  return `${text(groups.slice(0, longest.from))}::${text(groups.slice(longest.from + longest.length))}`;
}

// Components of a sort key ------------------------------------------------------------------------------------

/** A component of a made sort key: its header and its body. */
function component(type, raw) {
  if (raw.length === 0 && !TEXTS.has(type.name) && type.name !== 'blob') return Uint8Array.of(1);
  return concat([[2], body(type, raw)]);
}

function body(type, raw) {
  const { name } = type;
  if (name in INTEGERS) return concat([[raw[0] ^ 0x80], raw.slice(1)]);
  if (name === 'date' || name === 'boolean') return raw;
  if (name === 'float' || name === 'double') return floating(name, raw);
  if (name === 'varint') return varint(raw);
  if (name === 'decimal') return decimalBody(raw);
  const byTime = () => [...raw.slice(6, 8), ...raw.slice(4, 6), ...raw.slice(0, 4)];
  if (name === 'uuid') {
    const version = raw[6] >> 4;
    return concat([[version], version === 1 ? [...byTime(), ...raw.slice(8)] : raw]);
  }
  if (name === 'timeuuid') return concat([byTime(), raw.slice(8).map((byte) => byte ^ 0x80)]);
  if (COMPOSITES.has(name)) return within(type, raw);
  return concat([Array.from(raw).flatMap((byte) => (byte === 0 ? [0, 0xff] : [byte])), [0, 1]]);
}

/** The body of a value that holds others. */
function within(type, raw) {
  const found = elements(type, raw);
  if (type.name === 'tuple') {
    while (found.length && found.at(-1) === null) found.pop();
    const fields = found.map((one, at) => (one === null ? [1] : concat([[2], component(type.inner[at], one)])));
    return concat([...fields, [0]]);
  }
  if (found.includes(null)) throw new Error("a collection with a null in it can't be a key");
  const pieces = found.map((one, at) => component(type.inner[type.name === 'map' ? at % 2 : 0], one));
  return concat(type.name === 'vector' ? pieces : [...pieces, [0]]);
}

function floating(name, raw) {
  const value = name === 'float' ? view(raw).getFloat32(0) : view(raw).getFloat64(0);
  const plain = Number.isNaN(value) ? unhex(name === 'float' ? '7fc00000' : '7ff8000000000000') : raw;
  return plain[0] & 0x80 ? inverted(plain) : concat([[plain[0] | 0x80], plain.slice(1)]);
}

function varint(raw) {
  const value = integer(raw);
  const size = value < 0n ? -value : value;
  const text = size === 0n ? '' : size.toString(16);
  const digits = unhex(text.padStart(text.length + (text.length % 2), '0'));
  const length = value < 0n ? 0x8000 - digits.length : 0x8000 + digits.length;
  return concat([[length >> 8, length & 0xff], value < 0n ? inverted(digits) : digits]);
}

function decimalBody(raw) {
  const unscaled = integer(raw.slice(4));
  if (unscaled === 0n) return Uint8Array.of(2);
  let digits = String(unscaled < 0n ? -unscaled : unscaled);
  const before = BigInt(digits.length) - BigInt(view(raw).getInt32(0));
  digits = digits.replace(/0+$/, '');
  if (digits.length % 2) digits += '0';
  const pairs = digits.match(/../g).map((pair) => Number(pair) + 1);
  const power = unhex((before + (1n << 63n)).toString(16).padStart(16, '0'));
  const rest = concat([power, pairs, [0]]);
  return unscaled > 0n ? concat([[3], rest]) : concat([[1], inverted(rest)]);
}
