package crossfadekeys

import (
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

type examples struct {
	Tables []struct {
		About   string
		Columns []Column
		Keys    Names
		Rows    []struct {
			Key  map[string]string
			Item map[string]map[string]string
		}
	}
}

func shown(attributes map[string]Attribute) map[string]map[string]string {
	out := map[string]map[string]string{}
	for name, one := range attributes {
		switch {
		case one.S != nil:
			out[name] = map[string]string{"S": *one.S}
		case one.N != nil:
			out[name] = map[string]string{"N": *one.N}
		default:
			out[name] = map[string]string{"B": hex.EncodeToString(one.B)}
		}
	}
	return out
}

func TestEveryKeyIsTheExamples(t *testing.T) {
	text, err := os.ReadFile("../../tests/fixtures/keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var all examples
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, table := range all.Tables {
		keys, err := New(table.Columns, table.Keys)
		if err != nil {
			t.Fatalf("%s: %v", table.About, err)
		}
		for _, row := range table.Rows {
			key := map[string]any{}
			for name, text := range row.Key {
				raw, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
				if err != nil {
					t.Fatal(err)
				}
				key[name] = Cql(raw)
			}
			got, err := keys.Of(key)
			if err != nil {
				t.Errorf("%s, %v: %v", table.About, row.Key, err)
			} else if !reflect.DeepEqual(shown(got), row.Item) {
				t.Errorf("%s, %v: %v, not %v", table.About, row.Key, shown(got), row.Item)
			}
			count++
		}
	}
	if count < 30 {
		t.Errorf("only %d examples", count)
	}
}

func TestValuesOfTheLanguage(t *testing.T) {
	keys, err := New([]Column{
		{"t", "text", Partition}, {"u", "uuid", Partition}, {"d", "decimal", Partition}, {"day", "date", Partition},
		{"ip", "inet", Partition}, {"at", "timestamp", Ascending}, {"v", "varint", Ascending},
	}, Names{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := keys.Of(map[string]any{
		"t": "a#b", "u": "123e4567-e89b-42d3-a456-426614174000", "d": "1.10", "day": 1, "ip": "2001:db8::1",
		"at": time.UnixMilli(1500), "v": big.NewInt(-256),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{
		"pk": {"S": `a\#b#123e4567-e89b-42d3-a456-426614174000#110E-2#1#2001:db8::1`},
		"sk": {"B": "0280000000000005dc" + "027ffe" + "feff"},
	}
	if !reflect.DeepEqual(shown(got), want) {
		t.Errorf("%v, not %v", shown(got), want)
	}
}

func TestWhatIsWrongIsRefused(t *testing.T) {
	keys, err := New([]Column{{"id", "text", Partition}, {"n", "int", Ascending}}, Names{})
	if err != nil {
		t.Fatal(err)
	}
	wrong := []map[string]any{
		{"id": "a", "x": 1}, {"n": 1}, {"id": ""}, {"id": strings.Repeat("a", 3000), "n": 1}, {"id": 7, "n": 1},
		{"id": "a", "n": int64(1) << 40}, {"id": Cql{0xff}, "n": 1},
	}
	for _, key := range wrong {
		if got, err := keys.Of(key); err == nil {
			t.Errorf("%v: %v", key, got)
		}
	}
}
