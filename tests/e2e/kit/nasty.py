"""Records that are hard to keep: each as it is sent, and as it must read ever after."""

from dataclasses import dataclass

SCHEMA = {
    "fields": [
        {"name": "id", "type": "int64", "nullable": False},
        {"name": "u64", "type": "uint64"},
        {"name": "i64", "type": "int64"},
        {"name": "i8", "type": "int8"},
        {"name": "f32", "type": "float32"},
        {"name": "f64", "type": "float64"},
        {"name": "v16", "type": "vector", "dim": 4, "item": "float16"},
        {"name": "v32", "type": "vector", "dim": 4},
        {"name": "v64", "type": "vector", "dim": 3, "item": "float64"},
        {"name": "bin", "type": "binary"},
        {"name": "doc", "type": "json"},
        {"name": "at", "type": "timestamp"},
        {"name": "day", "type": "date32"},
        {"name": "ratios", "type": "list", "items": {"type": "float32"}},
        {"name": "meta", "type": "struct", "fields": [
            {"name": "a.b", "type": "string"}, {"name": "raw", "type": "json"}, {"name": "n", "type": "uint8"},
        ]},
    ]
}


@dataclass
class Case:
    """Members of a record as JSON text: as sent, and as read where that differs."""

    sent: str
    read: str | None = None


def _nest(depth: int, core: str) -> str:
    return '{"o":' * depth + core + "}" * depth


_MEGABYTE = "x" * (1 << 20)
_WIDE = "\U0001f600é\\\\\\\"" * (1 << 17)
_LINES = "\\n\\t\\u0001" * (1 << 16)

# Declared columns come in the order of the schema, others in the order in which they first come.
CASES = [
    Case(""),
    Case(r'"s":"\u00e9\ud83d\ude00\u0000\u001F\u007f\/\"\\\b\f\n\r\t\u2028\ufffd"',
         '"s":"é\U0001f600\\u0000\\u001f\x7f/\\"\\\\\\b\\f\\n\\r\\t\u2028\ufffd"'),
    Case('"s":""'),
    Case('"s":"é e\u0301 \U00010000 \U0010ffff \ufeff \u200d \u202e"'),
    # Floats: as ECMAScript prints them.
    Case('"f64":-0.0', '"f64":0'),
    Case('"f64":1e300', '"f64":1e+300'),
    Case('"f64":1.0', '"f64":1'),
    Case('"f64":9007199254740992', '"f64":9007199254740992'),
    Case('"xs":[1e300,5e-324,1E21,1e20,0.1,-0.0,1.7976931348623157e308,1e-7,0.000001,-2.50,1.0,123456789.125e-3]',
         '"xs":[1e+300,5e-324,1e+21,100000000000000000000,0.1,0,1.7976931348623157e+308,1e-7,0.000001,-2.5,1,123456.789125]'),
    Case('"f32":3.4028234663852886e38', '"f32":3.4028235e+38'),
    Case('"f32":16777217', '"f32":16777216'),
    Case('"f32":0.1'),
    Case('"ratios":[0.1,1e-45,null,-0.0,0.30000001192092896]', '"ratios":[0.1,1e-45,null,0,0.3]'),
    # Integers: by their digits, however they were written.
    Case('"i64":9007199254740991'),
    Case('"i64":9007199254740992'),
    Case('"i64":9007199254740993'),
    Case('"i64":-9223372036854775808'),
    Case('"i64":1.0', '"i64":1'),
    Case('"i64":-0.0', '"i64":0'),
    Case('"i64":12.5e1', '"i64":125'),
    Case('"u64":18446744073709551615'),
    Case('"i8":-128'),
    Case('"ks":[9007199254740993,-9007199254740993,9223372036854775807,-9223372036854775808,0,-0]',
         '"ks":[9007199254740993,-9007199254740993,9223372036854775807,-9223372036854775808,0,0]'),
    Case('"guessed_u64":18446744073709551615'),
    Case('"n":1'),
    Case('"n":-3'),
    Case('"ns":[1,2,null,3]'),
    Case('"past_u64":18446744073709551616'),
    Case('"past_double":1e400'),
    # Depth.
    Case(f'"deep":{_nest(90, "1")}'),
    Case(f'"deeper":{"[" * 90}{"]" * 90}'),
    Case('"three":[[[1],[]],[],[[2,null]]]'),
    # Nothing, in all its forms.
    Case('"empty":{}'),
    Case('"none":[]'),
    Case('"inside":{"a":{},"b":[],"c":{"d":[{}]}}'),
    Case('"s":null,"i64":null,"v32":null,"doc":null,"never":null', ""),
    Case('"m":{"a":1,"b":[null,1,null],"c":{"d":true}}'),
    Case('"m":{"a":null,"b":null,"c":{"d":null}}', '"m":{"c":{}}'),
    Case('"m":{"a":null,"c":null}', '"m":{}'),
    Case('"items":[{"a":1,"b":"x"},{"a":2,"b":null},null,{},{"b":"y"}]',
         '"items":[{"a":1,"b":"x"},{"a":2},null,{},{"b":"y"}]'),
    Case('"mixed":[1,"a",null,{"k":null},[],1.0]'),
    # Keys.
    Case('"a.b":1'),
    Case('"a":{"b":2,"b.c":{"":3}}'),
    Case('"`tick`":1,"``":2'),
    Case('"100%":1,"%":2,"%2E":3,"a%2Eb":4'),
    Case('"":1'),
    Case('" ":1,"\\t":2,"\\u0000":3,"\\"":4,"\\\\":5,"/":6'),
    Case('"Key":1,"key":2,"KEY":3,"kEy":4,"\uff4bey":5'),
    Case('"é":1,"e\u0301":2,"\U0001f600":3'),
    Case('"__proto__":1,"constructor":2,"toString":3,"length":4'),
    Case('"_offset":7,"_timestamp":"x","_rowid":1,"_rowaddr":2,"_rowoffset":3,"_distance":0.5,"_score":1,"_relevance_score":2'),
    Case('"%5Foffset":8,"_Offset":9,"_row_created_at_version":1,"_row_last_updated_at_version":2'),
    Case('"held":{"_offset":1,"_rowid":2,"_timestamp":null,"offset":3}', '"held":{"_offset":1,"_rowid":2,"offset":3}'),
    Case('"offset":1,"timestamp":"2026-01-01T00:00:00Z","value":{"offset":2}'),
    Case('"select":1,"null":2,"true":3,"1":4,"-":5,"$1":6,"a b":7,"a\'b":8'),
    # Size.
    Case(f'"s":"{_MEGABYTE}"'),
    Case(f'"s":"{_WIDE}"'),
    Case(f'"s":"{_LINES}"'),
    # Declared types.
    Case('"at":"2026-11-23T10:00:00.123456+05:30"', '"at":"2026-11-23T04:30:00.123456Z"'),
    Case('"at":"1969-12-31T23:59:59.999999Z"'),
    Case('"at":"0001-01-01T00:00:00Z"', '"at":"0001-01-01T00:00:00.000000Z"'),
    Case('"at":"9999-12-31T23:59:59.999999Z"'),
    Case('"day":"2024-02-29"'),
    Case('"day":"0001-01-01"'),
    # The shortest digits that give 65504 back at the width of float16 are 65500.
    Case('"v16":[1,-0.0,65504,0.1]', '"v16":[1,0,65500,0.1]'),
    Case('"v16":[6e-8,-1.5,1e-9,2049]', '"v16":[6e-8,-1.5,0,2048]'),
    Case('"v32":[0.1,16777217,1e-45,-3.4028234663852886e38]', '"v32":[0.1,16777216,1e-45,-3.4028235e+38]'),
    Case('"v64":[0.1,9007199254740992,-1e300]', '"v64":[0.1,9007199254740992,-1e+300]'),
    Case('"bin":""'),
    Case('"bin":"AAECAwT/"'),
    Case('"bin":"/w=="'),
    Case(r'"doc": { "b" : [ 1.0 , 1e2 , -0.0, null ] , "a":"\u00e9 \/ x" , "n" : null }',
         r'"doc":{"b":[1.0,1e2,-0.0,null],"a":"\u00e9 \/ x","n":null}'),
    Case('"doc":"text"'),
    Case('"doc":12345678901234567890.123456789012345678901234567890'),
    Case('"doc":[]'),
    Case('"doc":false'),
    Case('"meta":{"a.b":"x","raw":{"k":[1.0]},"n":255}'),
    Case('"meta":{"a.b":null,"raw":null,"n":null}', '"meta":{}'),
    Case('"meta":{"n":2.0}', '"meta":{"n":2}'),
]

# Of no common type: a column for all of them can only be made where they come together.
JOINED = [
    Case('"joined":[1,{"a":null}]'),
    Case('"joined":{"a": 1.0}', '"joined":{"a":1.0}'),
    Case(r'"joined":"\u00e9"'),
    Case('"joined":1e2'),
    Case('"joined":null', ""),
]

# Sent after the others: each needs another schema, and none may change how the others read.
EVOLVING = [
    Case('"n":0.5'),
    Case('"ns":[0.5,1]'),
    Case('"i8":1000'),
    Case('"m":{"a":2.5,"e":{"new":[1]}}'),
    Case('"items":[{"c":1.5}]'),
    Case('"held":{"_timestamp":1}'),
    Case('"meta":{"n":65536,"more":"x"}'),
    Case('"brand_new":{"a":[{"b":null,"c":1}]}', '"brand_new":{"a":[{"c":1}]}'),
]


def records(cases: list[Case], first: int) -> tuple[list[str], list[bytes]]:
    """The cases as records numbered from `first`: the texts to send, and the values to read."""
    sent = [_record(first + index, case.sent) for index, case in enumerate(cases)]
    wanted = [
        _record(first + index, case.sent if case.read is None else case.read).encode()
        for index, case in enumerate(cases)
    ]
    return sent, wanted


def _record(number: int, members: str) -> str:
    return f'{{"id":{number},{members}}}' if members else f'{{"id":{number}}}'
