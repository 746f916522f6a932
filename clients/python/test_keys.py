"""Runs the examples of tests/fixtures/keys.json: python3 clients/python/test_keys.py"""

import datetime
import decimal
import json
import pathlib
import sys
import unittest
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from crossfade_keys import Cql, Keys  # noqa: E402

EXAMPLES = pathlib.Path(__file__).parents[2] / "tests" / "fixtures" / "keys.json"


def shown(attributes):
    return {
        name: {ty: value.hex() if isinstance(value, bytes) else value for ty, value in one.items()}
        for name, one in attributes.items()
    }


class Examples(unittest.TestCase):
    def test_every_key_is_the_example_s(self):
        count = 0
        for table in json.loads(EXAMPLES.read_text())["tables"]:
            names = table.get("keys", {})
            columns = [(one["name"], one["type"], one["role"]) for one in table["columns"]]
            keys = Keys(columns, **names)
            for row in table["rows"]:
                key = {name: Cql(bytes.fromhex(text[2:])) for name, text in row["key"].items()}
                with self.subTest(table["about"], key=row["key"]):
                    self.assertEqual(shown(keys.of(key)), row["item"])
                    count += 1
        self.assertGreater(count, 30)

    def test_values_of_the_language(self):
        columns = [
            ("t", "text", "partition"),
            ("u", "uuid", "partition"),
            ("d", "decimal", "partition"),
            ("day", "date", "partition"),
            ("ip", "inet", "partition"),
            ("at", "timestamp", "ascending"),
            ("v", "varint", "ascending"),
        ]
        key = {
            "t": "a#b",
            "u": uuid.UUID("123e4567-e89b-42d3-a456-426614174000"),
            "d": decimal.Decimal("1.10"),
            "day": datetime.date(1970, 1, 2),
            "ip": "10.0.0.9",
            "at": datetime.datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=datetime.timezone.utc),
            "v": -256,
        }
        self.assertEqual(
            shown(Keys(columns).of(key)),
            {
                "pk": {"S": "a\\#b#123e4567-e89b-42d3-a456-426614174000#110E-2#1#10.0.0.9"},
                "sk": {"B": "0280000000000005dc" + "027ffe" + "feff"},
            },
        )

    def test_what_is_wrong_is_refused(self):
        keys = Keys([("id", "text", "partition"), ("n", "int", "ascending")])
        for key in [{"id": "a", "x": 1}, {"n": 1}, {"id": ""}, {"id": "a" * 3000, "n": 1}, {"id": None}]:
            with self.subTest(key=key), self.assertRaises(ValueError):
                keys.of(key)
        with self.assertRaises(TypeError):
            keys.of({"id": 7, "n": 1})


if __name__ == "__main__":
    unittest.main()
