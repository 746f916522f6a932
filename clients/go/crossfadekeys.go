// Package crossfadekeys makes the keys of migrated tables: from a row's key columns to the key attributes of its item.
//
// The rules are those of docs/keys.md; the examples in tests/fixtures/keys.json are its test. One file, no
// dependency, Go 1.21 or later. Copy it into the application.
//
//	votes, err := crossfadekeys.New([]crossfadekeys.Column{
//		{"show", "text", crossfadekeys.Partition},
//		{"round", "int", crossfadekeys.Partition},
//		{"act", "text", crossfadekeys.Ascending},
//	}, crossfadekeys.Names{})
//	key, err := votes.Of(map[string]any{"show": "the-big-night", "round": 3, "act": "act 7"})
//	// pk: S "the-big-night#3", act: S "act 7"
package crossfadekeys

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Role is what a column is in its table.
type Role string

// The roles.
const (
	Partition  Role = "partition"
	Ascending  Role = "ascending"
	Descending Role = "descending"
	Static     Role = "static"
	Regular    Role = "regular"
)

// Column is a column of the table, with its CQL type. A user-defined type is written as udt<type, …>: its fields in
// their order.
type Column struct {
	Name string
	Type string
	Role Role
}

// Names are what the plan's `keys` say; empty where they say nothing.
type Names struct {
	Partition     string
	Sort          string
	PartitionHash bool `json:"partition_hash"`
}

const hashed = "#sha256:"

// Attribute is a key attribute: one of its fields is set.
type Attribute struct {
	S *string
	N *string
	B []byte
}

// Cql is a value as the bytes that CQL holds: the only form for collections, tuples and user-defined types.
type Cql []byte

// Keys are the keys of one table.
type Keys struct {
	partition, clustering   []column
	partitionName, sortName string
	hashes, inverts         bool
}

type column struct {
	name string
	ty   *cqlType
	role Role
}

type cqlType struct {
	name   string
	inner  []*cqlType
	length int
}

var integers = map[string]int{"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8, "timestamp": 8, "time": 8}

func isNumber(name string) bool { _, is := integers[name]; return is || name == "date" }
func isText(name string) bool   { return name == "text" || name == "ascii" }

// New takes all columns of a table, in the order of its schema.
func New(columns []Column, names Names) (*Keys, error) {
	keys := &Keys{partitionName: names.Partition, sortName: names.Sort, hashes: names.PartitionHash}
	hasStatics := false
	roles := map[Role]bool{}
	for _, one := range columns {
		ty, err := parse(one.Type)
		if err != nil {
			return nil, err
		}
		this := column{one.Name, ty, one.Role}
		switch one.Role {
		case Partition:
			keys.partition = append(keys.partition, this)
		case Ascending, Descending:
			keys.clustering = append(keys.clustering, this)
			roles[one.Role] = true
		case Static:
			hasStatics = true
		case Regular:
		default:
			return nil, fmt.Errorf("column %s: no role %q", one.Name, one.Role)
		}
	}
	if len(keys.partition) == 0 {
		return nil, errors.New("a table has a partition key")
	}
	if keys.partitionName == "" && (keys.hashes || !keys.isPlainPartition()) {
		keys.partitionName = "pk"
	}
	if keys.sortName == "" && len(keys.clustering) > 0 && !keys.isPlainSort(hasStatics) {
		keys.sortName = "sk"
	}
	keys.inverts = len(roles) == 2
	return keys, nil
}

func (keys *Keys) isPlainPartition() bool {
	name := keys.partition[0].ty.name
	isPlain := isNumber(name) || isText(name)
	switch name {
	case "uuid", "timeuuid", "inet", "decimal", "blob":
		isPlain = true
	}
	return len(keys.partition) == 1 && isPlain
}

func (keys *Keys) isPlainSort(hasStatics bool) bool {
	name := keys.clustering[0].ty.name
	return len(keys.clustering) == 1 && !hasStatics && (isNumber(name) || isText(name))
}

// Of gives the key attributes of a row, from its key columns by name. Without clustering columns where the table has
// some, those of its partition's static columns.
//
// A value is a string (text, ascii; uuid, timeuuid, inet, decimal in their usual form), an integer or *big.Int (date
// as days, time as nanoseconds, timestamp as milliseconds since 1970), a bool, a float, a time.Time (timestamp), a
// [16]byte (uuid), a netip.Addr, a []byte (blob), or Cql.
func (keys *Keys) Of(key map[string]any) (map[string]Attribute, error) {
	columns := append(append([]column{}, keys.partition...), keys.clustering...)
	raw := map[string][]byte{}
	var missing []string
	for _, one := range columns {
		value, is := key[one.name]
		if !is {
			missing = append(missing, one.name)
			continue
		}
		encoded, err := encode(one.ty, value)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", one.name, err)
		}
		raw[one.name] = encoded
	}
	if len(key) != len(raw) {
		return nil, fmt.Errorf("there are columns that are no key columns in %v", key)
	}
	isStatic := len(missing) == len(keys.clustering) && len(missing) > 0
	for _, one := range keys.partition {
		if _, is := raw[one.name]; !is {
			isStatic = false
		}
	}
	if len(missing) > 0 && !isStatic {
		return nil, fmt.Errorf("key columns are missing: %s", strings.Join(missing, ", "))
	}
	attributes := map[string]Attribute{}
	if err := keys.addPartition(attributes, raw); err != nil {
		return nil, err
	}
	if len(keys.clustering) > 0 {
		if err := keys.addSort(attributes, raw, isStatic); err != nil {
			return nil, err
		}
	}
	return attributes, nil
}

func (keys *Keys) addPartition(to map[string]Attribute, raw map[string][]byte) error {
	if keys.partitionName == "" {
		one := keys.partition[0]
		attribute, err := plain(one.ty, raw[one.name], 2048, "partition")
		to[one.name] = attribute
		return err
	}
	var parts []string
	for _, one := range keys.partition {
		text, err := part(one.ty, raw[one.name])
		if err != nil {
			return fmt.Errorf("column %s: %w", one.name, err)
		}
		if len(keys.partition) > 1 {
			text = strings.NewReplacer(`\`, `\\`, `#`, `\#`).Replace(text)
		}
		parts = append(parts, text)
	}
	text := strings.Join(parts, "#")
	if keys.hashes && (len(text) > 2048 || strings.HasPrefix(text, hashed)) {
		digest := sha256.Sum256([]byte(text))
		text = hashed + hex.EncodeToString(digest[:])
	}
	to[keys.partitionName] = Attribute{S: &text}
	return limited(len(text), 2048, "partition")
}

func (keys *Keys) addSort(to map[string]Attribute, raw map[string][]byte, isStatic bool) error {
	if keys.sortName == "" {
		one := keys.clustering[0]
		if isStatic {
			return errors.New("the table has no static columns")
		}
		attribute, err := plain(one.ty, raw[one.name], 1024, "sort")
		to[one.name] = attribute
		return err
	}
	whole := []byte{0}
	if !isStatic {
		whole = nil
		for _, one := range keys.clustering {
			next, err := component(one.ty, raw[one.name])
			if err != nil {
				return fmt.Errorf("column %s: %w", one.name, err)
			}
			if one.role == Descending && keys.inverts {
				next = inverted(next)
			}
			whole = append(whole, next...)
		}
	}
	to[keys.sortName] = Attribute{B: whole}
	return limited(len(whole), 1024, "sort")
}

func limited(size, most int, what string) error {
	if size > most {
		return fmt.Errorf("the %s key has %d bytes, DynamoDB takes %d", what, size, most)
	}
	return nil
}

func parse(text string) (*cqlType, error) {
	text = strings.TrimSpace(text)
	name, rest, nests := strings.Cut(text, "<")
	name = strings.ToLower(strings.TrimSpace(name))
	if !nests {
		if name == "varchar" {
			name = "text"
		}
		return &cqlType{name: name}, nil
	}
	if !strings.HasSuffix(rest, ">") {
		return nil, fmt.Errorf("not a CQL type: %s", text)
	}
	var pieces []string
	depth, start := 0, 0
	rest = rest[:len(rest)-1]
	for at, sign := range rest + "," {
		switch sign {
		case '<':
			depth++
		case '>':
			depth--
		case ',':
			if depth == 0 {
				pieces = append(pieces, rest[start:at])
				start = at + 1
			}
		}
	}
	if name == "frozen" {
		return parse(pieces[0])
	}
	ty := &cqlType{name: name}
	if name == "udt" {
		ty.name = "tuple"
	}
	if name == "vector" && len(pieces) == 2 {
		length, err := strconv.Atoi(strings.TrimSpace(pieces[1]))
		if err != nil {
			return nil, fmt.Errorf("not a CQL type: %s", text)
		}
		ty.length, pieces = length, pieces[:1]
	}
	for _, piece := range pieces {
		inner, err := parse(piece)
		if err != nil {
			return nil, err
		}
		ty.inner = append(ty.inner, inner)
	}
	return ty, nil
}

// fixedSize is the size of a type's values inside a vector, where all have one: they have no length before them there.
func fixedSize(ty *cqlType) int {
	switch ty.name {
	case "boolean":
		return 1
	case "int", "float":
		return 4
	case "bigint", "double", "timestamp":
		return 8
	case "uuid", "timeuuid":
		return 16
	case "vector":
		return fixedSize(ty.inner[0]) * ty.length
	}
	return 0
}

var errShort = errors.New("the value's CQL bytes end too early")

// elements are the values within a value: bytes, or nil for null.
func elements(ty *cqlType, raw []byte) ([][]byte, error) {
	if ty.name == "vector" {
		return vectorElements(ty, raw)
	}
	count := -1
	if ty.name != "tuple" {
		if len(raw) < 4 {
			return nil, errShort
		}
		count = int(int32(binary.BigEndian.Uint32(raw)))
		if ty.name == "map" {
			count *= 2
		}
		raw = raw[4:]
	}
	var found [][]byte
	for (count < 0 && len(raw) > 0) || len(found) < count {
		if len(raw) < 4 {
			return nil, errShort
		}
		size := int(int32(binary.BigEndian.Uint32(raw)))
		raw = raw[4:]
		if size < 0 {
			found = append(found, nil)
			continue
		}
		if len(raw) < size {
			return nil, errShort
		}
		found = append(found, append([]byte{}, raw[:size]...))
		raw = raw[size:]
	}
	return found, nil
}

func vectorElements(ty *cqlType, raw []byte) ([][]byte, error) {
	var found [][]byte
	for len(found) < ty.length {
		size := fixedSize(ty.inner[0])
		if size == 0 {
			if len(raw) == 0 {
				return nil, errShort
			}
			more := 0
			for more < 8 && raw[0]&(0x80>>more) != 0 {
				more++
			}
			if len(raw) < 1+more {
				return nil, errShort
			}
			size = int(raw[0]) & (0xff >> (more + 1))
			for _, one := range raw[1 : 1+more] {
				size = size<<8 | int(one)
			}
			raw = raw[1+more:]
		}
		if len(raw) < size {
			return nil, errShort
		}
		found = append(found, append([]byte{}, raw[:size]...))
		raw = raw[size:]
	}
	return found, nil
}

// encode gives a value as the bytes that CQL holds.
func encode(ty *cqlType, value any) ([]byte, error) {
	mistyped := fmt.Errorf("%v (%T) is no %s; use Cql for its CQL bytes", value, value, ty.name)
	switch value := value.(type) {
	case Cql:
		return value, nil
	case string:
		return encodeText(ty, value, mistyped)
	case []byte:
		if ty.name == "blob" {
			return value, nil
		}
	case bool:
		if ty.name == "boolean" {
			if value {
				return []byte{1}, nil
			}
			return []byte{0}, nil
		}
	case [16]byte:
		if ty.name == "uuid" || ty.name == "timeuuid" {
			return value[:], nil
		}
	case netip.Addr:
		if ty.name == "inet" && value.IsValid() {
			return value.AsSlice(), nil
		}
	case time.Time:
		if ty.name == "timestamp" {
			return encodeInteger(ty, big.NewInt(value.UnixMilli()), mistyped)
		}
	case float32:
		if ty.name == "float" {
			return binary.BigEndian.AppendUint32(nil, math.Float32bits(value)), nil
		}
	case float64:
		if ty.name == "double" {
			return binary.BigEndian.AppendUint64(nil, math.Float64bits(value)), nil
		}
	case int:
		return encodeInteger(ty, big.NewInt(int64(value)), mistyped)
	case int8:
		return encodeInteger(ty, big.NewInt(int64(value)), mistyped)
	case int16:
		return encodeInteger(ty, big.NewInt(int64(value)), mistyped)
	case int32:
		return encodeInteger(ty, big.NewInt(int64(value)), mistyped)
	case int64:
		return encodeInteger(ty, big.NewInt(value), mistyped)
	case *big.Int:
		return encodeInteger(ty, value, mistyped)
	}
	return nil, mistyped
}

func encodeText(ty *cqlType, text string, mistyped error) ([]byte, error) {
	switch {
	case isText(ty.name):
		return []byte(text), nil
	case ty.name == "uuid" || ty.name == "timeuuid":
		raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
		if err != nil || len(raw) != 16 || len(text) != 36 {
			return nil, mistyped
		}
		return raw, nil
	case ty.name == "inet":
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return nil, mistyped
		}
		return address.AsSlice(), nil
	case ty.name == "decimal":
		mantissa, exponent := strings.ToLower(text), 0
		if before, after, has := strings.Cut(mantissa, "e"); has {
			power, err := strconv.Atoi(after)
			if err != nil {
				return nil, mistyped
			}
			mantissa, exponent = before, power
		}
		whole, fraction, _ := strings.Cut(mantissa, ".")
		unscaled, is := new(big.Int).SetString(whole+fraction, 10)
		if !is {
			return nil, mistyped
		}
		scale := binary.BigEndian.AppendUint32(nil, uint32(int32(len(fraction)-exponent)))
		return append(scale, signed(unscaled)...), nil
	}
	return nil, mistyped
}

func encodeInteger(ty *cqlType, value *big.Int, mistyped error) ([]byte, error) {
	switch {
	case ty.name == "varint":
		return signed(value), nil
	case ty.name == "decimal":
		return append(make([]byte, 4), signed(value)...), nil
	case ty.name == "date" && value.IsInt64():
		days := value.Int64() + 1<<31
		if days < 0 || days > math.MaxUint32 {
			return nil, mistyped
		}
		return binary.BigEndian.AppendUint32(nil, uint32(days)), nil
	case integers[ty.name] > 0 && value.IsInt64():
		size := integers[ty.name]
		if raw := signed(value); len(raw) <= size {
			fill := byte(0)
			if value.Sign() < 0 {
				fill = 0xff
			}
			return append(bytes.Repeat([]byte{fill}, size-len(raw)), raw...), nil
		}
	}
	return nil, mistyped
}

// signed gives the shortest two's complement bytes of a number.
func signed(value *big.Int) []byte {
	if value.Sign() >= 0 {
		raw := value.Bytes()
		if len(raw) == 0 || raw[0]&0x80 != 0 {
			raw = append([]byte{0}, raw...)
		}
		return raw
	}
	below := new(big.Int).Not(value).Bytes()
	if len(below) == 0 || below[0]&0x80 != 0 {
		below = append([]byte{0}, below...)
	}
	return inverted(below)
}

// number is what two's complement bytes say.
func number(raw []byte) *big.Int {
	if len(raw) == 0 || raw[0]&0x80 == 0 {
		return new(big.Int).SetBytes(raw)
	}
	return new(big.Int).Not(new(big.Int).SetBytes(inverted(raw)))
}

func inverted(raw []byte) []byte {
	out := make([]byte, len(raw))
	for at, one := range raw {
		out[at] = one ^ 0xff
	}
	return out
}

func numberText(ty *cqlType, raw []byte) string {
	if ty.name == "date" {
		value := new(big.Int).SetBytes(raw)
		return value.Sub(value, big.NewInt(1<<31)).String()
	}
	return number(raw).String()
}

// plain is the attribute of a column that is the key itself.
func plain(ty *cqlType, raw []byte, most int, what string) (Attribute, error) {
	if len(raw) == 0 {
		return Attribute{}, errors.New("an empty value can't be a key attribute")
	}
	if ty.name == "blob" {
		return Attribute{B: raw}, limited(len(raw), most, what)
	}
	if isNumber(ty.name) {
		text := numberText(ty, raw)
		return Attribute{N: &text}, nil
	}
	text, err := part(ty, raw)
	if err != nil {
		return Attribute{}, err
	}
	return Attribute{S: &text}, limited(len(text), most, what)
}

// part is the text of a part of a partition key.
func part(ty *cqlType, raw []byte) (string, error) {
	if isText(ty.name) {
		if !utf8.Valid(raw) {
			return "", errors.New("its bytes aren't text")
		}
		return string(raw), nil
	}
	if len(raw) > 0 {
		switch {
		case isNumber(ty.name):
			return numberText(ty, raw), nil
		case ty.name == "uuid" || ty.name == "timeuuid":
			text := hex.EncodeToString(raw)
			if len(raw) == 16 {
				return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-"), nil
			}
		case ty.name == "inet":
			if address, is := netip.AddrFromSlice(raw); is {
				return address.String(), nil
			}
		case ty.name == "decimal" && len(raw) > 4:
			unscaled := number(raw[4:])
			if bytes.Equal(signed(unscaled), raw[4:]) {
				return fmt.Sprintf("%sE%d", unscaled, -int64(int32(binary.BigEndian.Uint32(raw)))), nil
			}
		}
	}
	return "0x" + hex.EncodeToString(raw), nil
}

// component is a component of a made sort key: its header and its body.
func component(ty *cqlType, raw []byte) ([]byte, error) {
	if len(raw) == 0 && !isText(ty.name) && ty.name != "blob" {
		return []byte{1}, nil
	}
	rest, err := body(ty, raw)
	return append([]byte{2}, rest...), err
}

func body(ty *cqlType, raw []byte) ([]byte, error) {
	sizes := map[string]int{"date": 4, "boolean": 1, "float": 4, "double": 8, "uuid": 16, "timeuuid": 16}
	for name, size := range integers {
		sizes[name] = size
	}
	if size := sizes[ty.name]; size > 0 && len(raw) != size {
		return nil, errShort
	}
	byTime := func() []byte {
		return append(append(append([]byte{}, raw[6:8]...), raw[4:6]...), raw[0:4]...)
	}
	switch ty.name {
	case "date", "boolean":
		return raw, nil
	case "float", "double":
		return floating(raw), nil
	case "varint":
		return varint(raw), nil
	case "decimal":
		return decimal(raw)
	case "uuid":
		version := raw[6] >> 4
		if version == 1 {
			return append(append([]byte{version}, byTime()...), raw[8:]...), nil
		}
		return append([]byte{version}, raw...), nil
	case "timeuuid":
		out := byTime()
		for _, one := range raw[8:] {
			out = append(out, one^0x80)
		}
		return out, nil
	case "list", "set", "map", "tuple", "vector":
		return within(ty, raw)
	}
	if integers[ty.name] > 0 {
		return append([]byte{raw[0] ^ 0x80}, raw[1:]...), nil
	}
	return append(bytes.ReplaceAll(raw, []byte{0}, []byte{0, 0xff}), 0, 1), nil
}

// within is the body of a value that holds others.
func within(ty *cqlType, raw []byte) ([]byte, error) {
	found, err := elements(ty, raw)
	if err != nil {
		return nil, err
	}
	isTuple := ty.name == "tuple"
	for isTuple && len(found) > 0 && found[len(found)-1] == nil {
		found = found[:len(found)-1]
	}
	var out []byte
	for at, one := range found {
		inner := ty.inner[0]
		if isTuple {
			if at >= len(ty.inner) {
				return nil, errors.New("the value has more fields than its type")
			}
			inner = ty.inner[at]
		} else if ty.name == "map" {
			inner = ty.inner[at%2]
		}
		if one == nil && !isTuple {
			return nil, errors.New("a collection with a null in it can't be a key")
		}
		if one == nil {
			out = append(out, 1)
			continue
		}
		next, err := component(inner, one)
		if err != nil {
			return nil, err
		}
		if isTuple {
			out = append(out, 2)
		}
		out = append(out, next...)
	}
	if ty.name == "vector" {
		return out, nil
	}
	return append(out, 0), nil
}

func floating(raw []byte) []byte {
	if len(raw) == 4 && math.IsNaN(float64(math.Float32frombits(binary.BigEndian.Uint32(raw)))) {
		raw = []byte{0x7f, 0xc0, 0, 0}
	}
	if len(raw) == 8 && math.IsNaN(math.Float64frombits(binary.BigEndian.Uint64(raw))) {
		raw = []byte{0x7f, 0xf8, 0, 0, 0, 0, 0, 0}
	}
	if raw[0]&0x80 != 0 {
		return inverted(raw)
	}
	return append([]byte{raw[0] | 0x80}, raw[1:]...)
}

func varint(raw []byte) []byte {
	value := number(raw)
	digits := value.Bytes()
	if value.Sign() < 0 {
		return append(binary.BigEndian.AppendUint16(nil, uint16(0x8000-len(digits))), inverted(digits)...)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(0x8000+len(digits))), digits...)
}

func decimal(raw []byte) ([]byte, error) {
	if len(raw) < 4 {
		return nil, errShort
	}
	unscaled := number(raw[4:])
	if unscaled.Sign() == 0 {
		return []byte{2}, nil
	}
	digits := new(big.Int).Abs(unscaled).String()
	before := int64(len(digits)) - int64(int32(binary.BigEndian.Uint32(raw)))
	digits = strings.TrimRight(digits, "0")
	if len(digits)%2 == 1 {
		digits += "0"
	}
	rest := binary.BigEndian.AppendUint64(nil, uint64(before)^(1<<63))
	for at := 0; at < len(digits); at += 2 {
		rest = append(rest, (digits[at]-'0')*10+digits[at+1]-'0'+1)
	}
	rest = append(rest, 0)
	if unscaled.Sign() < 0 {
		return append([]byte{1}, inverted(rest)...), nil
	}
	return append([]byte{3}, rest...), nil
}
