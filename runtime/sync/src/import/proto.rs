//! `feast.types.Value` on the wire. Maps are read as repeated entries: that keeps their order.

use prost::{Message, Oneof};

/// `feast.types.Value`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(
        oneof = "Val",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48"
    )]
    pub(super) val: Option<Val>,
}

/// The value itself.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Val {
    #[prost(bytes, tag = "1")]
    Bytes(Vec<u8>),
    #[prost(string, tag = "2")]
    String(String),
    #[prost(int32, tag = "3")]
    Int32(i32),
    #[prost(int64, tag = "4")]
    Int64(i64),
    #[prost(double, tag = "5")]
    Double(f64),
    #[prost(float, tag = "6")]
    Float(f32),
    #[prost(bool, tag = "7")]
    Bool(bool),
    #[prost(int64, tag = "8")]
    UnixTimestamp(i64),
    #[prost(message, tag = "11")]
    BytesList(BytesList),
    #[prost(message, tag = "12")]
    StringList(StringList),
    #[prost(message, tag = "13")]
    Int32List(Int32List),
    #[prost(message, tag = "14")]
    Int64List(Int64List),
    #[prost(message, tag = "15")]
    DoubleList(DoubleList),
    #[prost(message, tag = "16")]
    FloatList(FloatList),
    #[prost(message, tag = "17")]
    BoolList(BoolList),
    #[prost(message, tag = "18")]
    UnixTimestampList(Int64List),
    #[prost(int32, tag = "19")]
    Null(i32),
    #[prost(message, tag = "20")]
    Map(Map),
    #[prost(message, tag = "21")]
    MapList(MapList),
    #[prost(message, tag = "22")]
    BytesSet(BytesList),
    #[prost(message, tag = "23")]
    StringSet(StringList),
    #[prost(message, tag = "24")]
    Int32Set(Int32List),
    #[prost(message, tag = "25")]
    Int64Set(Int64List),
    #[prost(message, tag = "26")]
    DoubleSet(DoubleList),
    #[prost(message, tag = "27")]
    FloatSet(FloatList),
    #[prost(message, tag = "28")]
    BoolSet(BoolList),
    #[prost(message, tag = "29")]
    UnixTimestampSet(Int64List),
    #[prost(string, tag = "32")]
    Json(String),
    #[prost(message, tag = "33")]
    JsonList(StringList),
    #[prost(message, tag = "34")]
    Struct(Map),
    #[prost(message, tag = "35")]
    StructList(MapList),
    #[prost(string, tag = "36")]
    Uuid(String),
    #[prost(string, tag = "37")]
    TimeUuid(String),
    #[prost(message, tag = "38")]
    UuidList(StringList),
    #[prost(message, tag = "39")]
    TimeUuidList(StringList),
    #[prost(message, tag = "40")]
    UuidSet(StringList),
    #[prost(message, tag = "41")]
    TimeUuidSet(StringList),
    #[prost(message, tag = "42")]
    List(RepeatedValue),
    #[prost(message, tag = "43")]
    Set(RepeatedValue),
    #[prost(string, tag = "44")]
    Decimal(String),
    #[prost(message, tag = "45")]
    DecimalList(StringList),
    #[prost(message, tag = "46")]
    DecimalSet(StringList),
    #[prost(message, tag = "47")]
    ScalarMap(ScalarMap),
    #[prost(message, tag = "48")]
    ZonedTimestamp(ZonedTimestamp),
}

/// `BytesList` and `BytesSet`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BytesList {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) val: Vec<Vec<u8>>,
}

/// `StringList` and `StringSet`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StringList {
    #[prost(string, repeated, tag = "1")]
    pub(super) val: Vec<String>,
}

/// `Int32List` and `Int32Set`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Int32List {
    #[prost(int32, repeated, tag = "1")]
    pub(super) val: Vec<i32>,
}

/// `Int64List` and `Int64Set`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Int64List {
    #[prost(int64, repeated, tag = "1")]
    pub(super) val: Vec<i64>,
}

/// `DoubleList` and `DoubleSet`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DoubleList {
    #[prost(double, repeated, tag = "1")]
    pub(super) val: Vec<f64>,
}

/// `FloatList` and `FloatSet`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FloatList {
    #[prost(float, repeated, tag = "1")]
    pub(super) val: Vec<f32>,
}

/// `BoolList` and `BoolSet`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BoolList {
    #[prost(bool, repeated, tag = "1")]
    pub(super) val: Vec<bool>,
}

/// `Map`, its entries in their order.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Map {
    #[prost(message, repeated, tag = "1")]
    pub(super) val: Vec<MapEntry>,
}

/// One entry of a [`Map`].
#[derive(Clone, PartialEq, Message)]
pub(super) struct MapEntry {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<Value>,
}

/// `MapList`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MapList {
    #[prost(message, repeated, tag = "1")]
    pub(super) val: Vec<Map>,
}

/// `RepeatedValue`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RepeatedValue {
    #[prost(message, repeated, tag = "1")]
    pub(super) val: Vec<Value>,
}

/// `ScalarMap`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ScalarMap {
    #[prost(message, repeated, tag = "1")]
    pub(super) val: Vec<ScalarMapEntry>,
}

/// One entry of a [`ScalarMap`].
#[derive(Clone, PartialEq, Message)]
pub(super) struct ScalarMapEntry {
    #[prost(message, optional, tag = "1")]
    pub(super) key: Option<MapKey>,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<Value>,
}

/// `MapKey`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MapKey {
    #[prost(oneof = "Key", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub(super) key: Option<Key>,
}

/// The key itself.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Key {
    #[prost(int32, tag = "1")]
    Int32(i32),
    #[prost(int64, tag = "2")]
    Int64(i64),
    #[prost(float, tag = "3")]
    Float(f32),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(bool, tag = "5")]
    Bool(bool),
    #[prost(int64, tag = "6")]
    UnixTimestamp(i64),
    #[prost(bytes, tag = "7")]
    Bytes(Vec<u8>),
    #[prost(string, tag = "8")]
    Uuid(String),
    #[prost(string, tag = "9")]
    TimeUuid(String),
    #[prost(string, tag = "10")]
    Decimal(String),
}

/// `ZonedTimestamp`: seconds since the epoch and the zone's name.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ZonedTimestamp {
    #[prost(int64, tag = "1")]
    pub(super) unix_timestamp: i64,
    #[prost(string, tag = "2")]
    pub(super) zone: String,
}
