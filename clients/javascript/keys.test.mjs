// Runs the examples of tests/fixtures/keys.json: node --test clients/javascript

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { Cql, Keys } from './crossfade-keys.mjs';

const examples = JSON.parse(readFileSync(new URL('../../tests/fixtures/keys.json', import.meta.url), 'utf8'));

function shown(attributes) {
  const one = ([name, value]) => [name, value.B ? { B: Buffer.from(value.B).toString('hex') } : value];
  return Object.fromEntries(Object.entries(attributes).map(one));
}

test("every key is the example's", () => {
  let count = 0;
  for (const table of examples.tables) {
    const columns = table.columns.map(({ name, type, role }) => [name, type, role]);
    const keys = new Keys(columns, table.keys);
    for (const row of table.rows) {
      const key = Object.entries(row.key).map(([name, text]) => [name, new Cql(Buffer.from(text.slice(2), 'hex'))]);
      assert.deepEqual(shown(keys.of(Object.fromEntries(key))), row.item, `${table.about}: ${JSON.stringify(row.key)}`);
      count += 1;
    }
  }
  assert.ok(count > 30, `${count} examples`);
});

test('values of the language', () => {
  const keys = new Keys([
    ['t', 'text', 'partition'],
    ['u', 'uuid', 'partition'],
    ['d', 'decimal', 'partition'],
    ['day', 'date', 'partition'],
    ['ip', 'inet', 'partition'],
    ['at', 'timestamp', 'ascending'],
    ['v', 'varint', 'ascending'],
  ]);
  const key = {
    t: 'a#b',
    u: '123e4567-e89b-42d3-a456-426614174000',
    d: '1.10',
    day: 1,
    ip: '2001:db8::1',
    at: new Date(1500),
    v: -256n,
  };
  assert.deepEqual(shown(keys.of(key)), {
    pk: { S: 'a\\#b#123e4567-e89b-42d3-a456-426614174000#110E-2#1#2001:db8::1' },
    sk: { B: '0280000000000005dc' + '027ffe' + 'feff' },
  });
  assert.equal(keys.of({ ...key, ip: '::ffff:10.0.0.9' }).pk.S.split('#').at(-1), '::ffff:10.0.0.9');
});

test('what is wrong is refused', () => {
  const keys = new Keys([['id', 'text', 'partition'], ['n', 'int', 'ascending']]);
  const wrong = [{ id: 'a', x: 1 }, { n: 1 }, { id: '' }, { id: 'a'.repeat(3000), n: 1 }, { id: 7, n: 1 }, { id: 'a', n: 1.5 }];
  for (const key of wrong) assert.throws(() => keys.of(key), JSON.stringify(key));
});
