//! Parquet files that are not what they say: written byte by byte, as no writer would.
//!
//! Used by the tests of this room and, over the same path, by those of the server: nothing here knows
//! either.

/// A file that must be refused.
pub(crate) struct Bomb {
    /// What is wrong with it.
    pub(crate) name: &'static str,
    /// The feature view whose source it takes the place of: its file is named after it.
    pub(crate) view: &'static str,
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// A part of the reason it is refused with; empty when it is read, and does no harm.
    pub(crate) reason: &'static str,
}

/// Thrift's compact protocol, as values.
enum T {
    /// Of 32 bits.
    Int(i64),
    Text(Vec<u8>),
    Structs(Vec<Self>),
    Ints(Vec<i64>),
    Texts(Vec<Vec<u8>>),
    Struct(Vec<(u8, Self)>),
    /// What stands there as it is, of a kind.
    Raw(u8, Vec<u8>),
}

// === impl T ===

impl T {
    fn kind(&self) -> u8 {
        match self {
            Self::Int(_) => 5,
            Self::Text(_) => 8,
            Self::Structs(_) | Self::Ints(_) | Self::Texts(_) => 9,
            Self::Struct(_) => 12,
            Self::Raw(kind, _) => *kind,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(value) => varint(out, zigzag(*value)),
            Self::Text(bytes) => {
                varint(out, bytes.len() as u64);
                out.extend(bytes);
            }
            Self::Structs(items) => {
                list(out, items.len(), 12);
                items.iter().for_each(|item| item.write(out));
            }
            Self::Ints(items) => {
                list(out, items.len(), 5);
                items.iter().for_each(|item| varint(out, zigzag(*item)));
            }
            Self::Texts(items) => {
                list(out, items.len(), 8);
                for item in items {
                    varint(out, item.len() as u64);
                    out.extend(item);
                }
            }
            Self::Struct(fields) => {
                let mut last = 0;
                for (id, value) in fields {
                    out.push((id - last) << 4 | value.kind());
                    last = *id;
                    value.write(out);
                }
                out.push(0);
            }
            Self::Raw(_, bytes) => out.extend(bytes),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

fn list(out: &mut Vec<u8>, length: usize, kind: u8) {
    if length < 15 {
        out.push((length as u8) << 4 | kind);
    } else {
        out.push(0xf0 | kind);
        varint(out, length as u64);
    }
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varints(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| varint(&mut out, *value));
    out
}

const BOOLEAN: i64 = 0;
const INT32: i64 = 1;
const INT64: i64 = 2;
const INT96: i64 = 3;
const FLOAT: i64 = 4;
const DOUBLE: i64 = 5;
const BYTE_ARRAY: i64 = 6;
const FIXED: i64 = 7;

const UTF8: i64 = 0;
const TIME_MILLIS: i64 = 9;
const TIME_MICROS: i64 = 10;

const SNAPPY: i64 = 1;
const GZIP: i64 = 2;
const BROTLI: i64 = 4;
const LZ4: i64 = 5;
const ZSTD: i64 = 6;
const LZ4_RAW: i64 = 7;

const T0: i64 = 1_772_323_200_000_000;
const HUGE: i64 = 1_000_000_000_000;
const MAX: i64 = i32::MAX as i64;

/// A column chunk.
#[derive(Clone)]
struct Column {
    name: String,
    physical: i64,
    converted: Option<i64>,
    /// 0 required, 1 optional, 2 repeated.
    repetition: i64,
    width: i64,
    codec: i64,
    values: i64,
    /// Headers and pages.
    pages: Vec<u8>,
    /// Whether the first page is a dictionary.
    dictionary: bool,
    offset: Option<i64>,
    size: Option<i64>,
}

impl Column {
    fn new(name: &str, (physical, converted): (i64, Option<i64>), values: i64) -> Self {
        Self {
            name: name.to_owned(),
            physical,
            converted,
            repetition: 0,
            width: 0,
            codec: 0,
            values,
            pages: Vec::new(),
            dictionary: false,
            offset: None,
            size: None,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn page(mut self, page: Vec<u8>) -> Self {
        self.pages.extend(page);
        self
    }
}

/// A page of data of the first version.
fn data((values, encoding): (i64, i64), size: i64, body: &[u8]) -> Vec<u8> {
    let inner = vec![
        (1, T::Int(values)),
        (2, T::Int(encoding)),
        (3, T::Int(3)),
        (4, T::Int(3)),
    ];
    page(0, (5, inner), size, body)
}

fn dictionary(values: i64, body: &[u8]) -> Vec<u8> {
    let inner = vec![(1, T::Int(values)), (2, T::Int(0))];
    page(2, (7, inner), body.len() as i64, body)
}

fn page(kind: i64, (field, inner): (u8, Vec<(u8, T)>), size: i64, body: &[u8]) -> Vec<u8> {
    let header = T::Struct(vec![
        (1, T::Int(kind)),
        (2, T::Int(size)),
        (3, T::Int(body.len() as i64)),
        (field, T::Struct(inner)),
    ]);
    [header.bytes(), body.to_vec()].concat()
}

/// A page as it should be: not packed, plain.
fn plain(values: i64, body: &[u8]) -> Vec<u8> {
    data((values, 0), body.len() as i64, body)
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes()[..], text].concat()
}

/// The footer's bytes and the file around it.
fn around(pages: &[u8], footer: &[u8]) -> Vec<u8> {
    let length = footer.len() as u32;
    [b"PAR1", pages, footer, &length.to_le_bytes(), b"PAR1"].concat()
}

fn element(name: &str, fields: Vec<(u8, T)>) -> T {
    let mut fields = fields;
    let at = fields.iter().take_while(|(id, _)| *id < 4).count();
    fields.insert(at, (4, T::Text(name.as_bytes().to_vec())));
    T::Struct(fields)
}

fn schema(columns: &[Column]) -> Vec<T> {
    let mut elements = vec![element("root", vec![(5, T::Int(columns.len() as i64))])];
    for column in columns {
        let mut fields = vec![(1, T::Int(column.physical))];
        if column.width > 0 {
            fields.push((2, T::Int(column.width)));
        }
        fields.push((3, T::Int(column.repetition)));
        if let Some(converted) = column.converted {
            fields.push((6, T::Int(converted)));
        }
        elements.push(element(&column.name, fields));
    }
    elements
}

/// A number of 64 bits, which other integers are not.
fn long(value: i64) -> T {
    T::Raw(6, varints(&[zigzag(value)]))
}

/// A file of one row group that claims `rows`.
fn file(rows: i64, columns: &[Column]) -> Vec<u8> {
    let mut pages = Vec::new();
    let mut chunks = Vec::new();
    for column in columns {
        let start = column.offset.unwrap_or(4 + pages.len() as i64);
        let size = column.size.unwrap_or(column.pages.len() as i64);
        let mut fields = vec![
            (1, T::Int(column.physical)),
            (2, T::Ints(vec![0])),
            (3, T::Texts(vec![column.name.as_bytes().to_vec()])),
            (4, T::Int(column.codec)),
            (5, long(column.values)),
            (6, long(size)),
            (7, long(size)),
            (9, long(start)),
        ];
        if column.dictionary {
            fields.push((11, long(start)));
        }
        chunks.push(T::Struct(vec![(2, long(start)), (3, T::Struct(fields))]));
        pages.extend(&column.pages);
    }
    let group = T::Struct(vec![
        (1, T::Structs(chunks)),
        (2, long(pages.len() as i64)),
        (3, long(rows)),
    ]);
    around(&pages, &footer(schema(columns), rows, vec![group]).bytes())
}

fn footer(schema: Vec<T>, rows: i64, groups: Vec<T>) -> T {
    T::Struct(vec![
        (1, T::Int(1)),
        (2, T::Structs(schema)),
        (3, long(rows)),
        (4, T::Structs(groups)),
    ])
}

/// Columns of `customer_profile` with `rows` rows that are as they should be.
fn customers(rows: i64) -> Vec<Column> {
    let repeat = |bytes: &[u8]| bytes.repeat(rows as usize);
    let ids: Vec<u8> = (0..rows)
        .flat_map(|row| text(format!("C{row:06}").as_bytes()))
        .collect();
    let column = |name, kind, body: Vec<u8>| Column::new(name, kind, rows).page(plain(rows, &body));
    let time = T0.to_le_bytes();
    vec![
        column("event_timestamp", (INT64, Some(TIME_MICROS)), repeat(&time)),
        column("customer_id", (BYTE_ARRAY, Some(UTF8)), ids),
        column("tier", (BYTE_ARRAY, Some(UTF8)), repeat(&text(b"gold"))),
        column("age", (INT32, None), repeat(&[7, 0, 0, 0])),
        column("balance", (DOUBLE, None), repeat(&1.5_f64.to_le_bytes())),
        column("score", (FLOAT, None), repeat(&f32::NAN.to_le_bytes())),
        column(
            "is_vip",
            (BOOLEAN, None),
            vec![0xff; (rows as usize).div_ceil(8)],
        ),
        column("lifetime_value", (INT64, None), repeat(&time)),
        column("signup_ts", (INT64, Some(TIME_MICROS)), repeat(&time)),
    ]
}

/// `customer_profile` of `rows` rows with one column in the place of its own.
fn with(rows: i64, column: Column) -> Vec<u8> {
    let mut columns = customers(rows);
    let name = column.name.clone();
    let place = columns.iter_mut().find(|it| it.name == name);
    *place.expect("a column of the view") = column;
    file(rows, &columns)
}

/// The column `tier`.
fn tier(values: i64) -> Column {
    Column::new("tier", (BYTE_ARRAY, Some(UTF8)), values)
}

fn packed(codec: i64, size: i64, body: &[u8]) -> Vec<u8> {
    let page = data((1, 0), size, body);
    with(1, tier(1).with(|it| it.codec = codec).page(page))
}

/// One frame of zstd that stands for so many zeros: blocks of 128 KiB of four bytes each.
fn zstd_zeros(size: u32) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    out.extend(size.to_le_bytes());
    let mut left = size;
    while left > 0 {
        let block = left.min(128 << 10);
        left -= block;
        let head = u32::from(left == 0) | 1 << 1 | block << 3;
        out.extend(&head.to_le_bytes()[..3]);
        out.push(0);
    }
    out
}

/// A stream of gzip that stands for so many times 258 zeros; its sum at the end is wrong.
fn gzip_zeros(times: usize) -> Vec<u8> {
    // The first bits: the last block, of the fixed code; a zero; then copies of it.
    let mut bits: Vec<bool> = vec![true, true, false];
    let mut put = |code: u32, length: u32| {
        for bit in (0..length).rev() {
            bits.push(code >> bit & 1 == 1);
        }
    };
    put(0x30, 8);
    for _ in 0..times {
        put(0xc5, 8);
        put(0, 5);
    }
    put(0, 7);
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    for byte in bits.chunks(8) {
        let bits = byte.iter().enumerate();
        out.push(bits.fold(0, |byte, (at, bit)| byte | u8::from(*bit) << at));
    }
    out.extend([0; 8]);
    out
}

/// All of them.
pub(crate) fn bombs() -> Vec<Bomb> {
    let mut all = Vec::new();
    let mut add = |name, reason, bytes| {
        all.push(Bomb {
            name,
            view: "customer_profile",
            bytes,
            reason,
        });
    };
    files(&mut add);
    footers(&mut add);
    chunks(&mut add);
    sizes(&mut add);
    dictionaries(&mut add);
    deltas(&mut add);
    values(&mut add);
    all.extend(lists());
    all
}

/// A name, a part of the reason, the bytes.
type Add<'a> = &'a mut dyn FnMut(&'static str, &'static str, Vec<u8>);

fn files(add: Add<'_>) {
    let good = file(100, &customers(100));
    add("a good file", "", good.clone());
    add("nothing", "too short", Vec::new());
    add("only the marks", "footer of", b"PAR1PAR1".to_vec());
    add("text", "does not end as", b"<html>".repeat(100));
    add(
        "cut in half",
        "does not end as",
        good[..good.len() / 2].to_vec(),
    );
    let end = good.len() - 8;
    let mut longer = good.clone();
    longer[end..end + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    add(
        "a footer longer than the file",
        "a footer of 4294967295",
        longer,
    );
    let mut shorter = good.clone();
    shorter[end..end + 4].copy_from_slice(&20_u32.to_le_bytes());
    add("a footer cut short", "Required field", shorter);
    let mut sealed = good.clone();
    sealed[end + 7] = b'E';
    add("an encrypted footer", "encrypted", sealed);
    let large = around(&vec![0; 1 << 10], &vec![0; 33 << 20]);
    add("a footer of 33 MiB", "more than the 33554432", large);
}

fn footers(add: Add<'_>) {
    let columns = customers(1);
    let small = |schema, rows| around(&[], &footer(schema, rows, Vec::new()).bytes());
    add(
        "a million million rows",
        "claims 1000000000000",
        file(HUGE, &columns),
    );
    let claims: Vec<Column> = columns
        .iter()
        .map(|it| it.clone().with(|it| it.values = HUGE))
        .collect();
    add(
        "and its columns agree",
        "claims 1000000000000",
        file(HUGE, &claims),
    );
    add("rows below zero", "less than no rows", file(-1, &columns));
    for (name, depth, reason) in [
        ("columns 1000 deep", 1000, "more than 32 deep"),
        ("columns 16000 deep", 16_000, "more than 32 deep"),
        ("columns 300000 deep", 300_000, "16384 columns"),
    ] {
        let mut schema = vec![element("root", vec![(5, T::Int(1))])];
        let group = || element("g", vec![(3, T::Int(1)), (5, T::Int(1))]);
        schema.extend((0..depth).map(|_| group()));
        schema.push(element("x", vec![(1, T::Int(INT64)), (3, T::Int(1))]));
        add(name, reason, small(schema, 1));
    }
    let root = |children| vec![element("root", vec![(5, T::Int(children))])];
    add(
        "a thousand million columns",
        "cannot be",
        small(root(1_000_000_000), 1),
    );
    add(
        "more columns than there are",
        "more columns than",
        small(root(3), 1),
    );
    let claim = [0xfc, 0xff, 0xff, 0xff, 0xff, 0x07];
    for (name, field) in [
        ("a list of columns without end", 2),
        ("row groups without end", 4),
    ] {
        let footer = T::Struct(vec![(field, T::Raw(9, claim.to_vec()))]);
        add(
            name,
            "ends in the middle",
            around(&[0; 99], &footer.bytes()),
        );
    }
    let footer = T::Struct(vec![(6, T::Raw(8, varints(&[u64::MAX >> 1])))]);
    add(
        "a text without end",
        "ends in the middle",
        around(&[], &footer.bytes()),
    );
    add(
        "structs 100000 deep",
        "without end",
        around(&[], &vec![0x1c; 100_000]),
    );
    let pairs = T::Structs((0..4_500_000).map(|_| T::Struct(Vec::new())).collect());
    let many = T::Struct(vec![(5, pairs)]);
    add(
        "too many notes",
        "too many elements",
        around(&[], &many.bytes()),
    );
    let group = || {
        T::Struct(vec![(
            1,
            T::Structs((0..3000).map(|_| T::Struct(vec![])).collect()),
        )])
    };
    let groups = (0..100).map(|_| group()).collect();
    let many = around_groups(&columns, groups);
    add("300000 columns of row groups", "262144", many);
    let wide = Column::new("tier", (FIXED, None), 1).with(|it| it.width = MAX);
    add(
        "values of two gigabytes",
        "larger than a row",
        with(1, wide),
    );
}

fn around_groups(columns: &[Column], groups: Vec<T>) -> Vec<u8> {
    around(&[], &footer(schema(columns), 1, groups).bytes())
}

fn chunks(add: Add<'_>) {
    let one = || tier(1).page(plain(1, &text(b"gold")));
    let changed = |change: &dyn Fn(&mut Column)| with(1, one().with(change));
    let outside = "outside of the file";
    add(
        "a column beyond the file",
        outside,
        changed(&|it| it.offset = Some(HUGE)),
    );
    add(
        "a column below zero",
        "below zero",
        changed(&|it| it.offset = Some(-5)),
    );
    add(
        "a column without end",
        outside,
        changed(&|it| it.size = Some(i64::MAX - 3)),
    );
    add(
        "a column of less than no bytes",
        "below zero",
        changed(&|it| it.size = Some(-1)),
    );
    add(
        "a column of fewer values",
        "claims 0 values",
        changed(&|it| it.values = 0),
    );
    let more = with(1, tier(1).page(plain(MAX, &text(b"gold"))));
    add(
        "a page of too many values",
        "claims 2147483647 values",
        more,
    );
    let none = with(1, tier(1).page(plain(0, &[])));
    add("a page of no values", "1 values too early", none);
    add(
        "a column without pages",
        "1 values too early",
        with(1, tier(1)),
    );
    let header = [0x15, 0x00, 0x15, 0xff, 0xff];
    add(
        "a header cut short",
        "header is malformed",
        with(1, tier(1).page(header.to_vec())),
    );
    let negative = data((-1, 0), 8, &text(b"gold"));
    add(
        "fewer than no values",
        "cannot be",
        with(1, tier(1).page(negative)),
    );
    let unknown = data((1, 77), 8, &text(b"gold"));
    add(
        "an unknown encoding",
        "not known",
        with(1, tier(1).page(unknown)),
    );
    let kind = page(9, (5, vec![(1, T::Int(1))]), 8, &text(b"gold"));
    add(
        "an unknown page",
        "no known kind",
        with(1, tier(1).page(kind)),
    );
    let long = T::Struct(vec![
        (1, T::Int(0)),
        (2, T::Int(8)),
        (3, T::Int(MAX)),
        (5, T::Struct(vec![])),
    ]);
    add(
        "a page longer than its column",
        "cannot be",
        with(1, tier(1).page(long.bytes())),
    );
    let mut long = plain(1, &text(b"gold"));
    long.truncate(long.len() - 1);
    add(
        "a page cut short",
        "has 7 left",
        with(1, tier(1).page(long)),
    );
    let statistics = T::Struct(vec![
        (1, T::Int(0)),
        (2, T::Int(8)),
        (3, T::Int(8)),
        (
            5,
            T::Struct(vec![(
                5,
                T::Raw(12, [vec![0x18], varints(&[MAX as u64])].concat()),
            )]),
        ),
    ]);
    add(
        "a least value of two gigabytes",
        "header is malformed",
        with(1, tier(1).page(statistics.bytes())),
    );
}

fn sizes(add: Add<'_>) {
    let take = "take more than";
    add(
        "snappy of two gigabytes",
        take,
        packed(SNAPPY, MAX, &[0xff, 0xff, 0xff, 0xff, 7, 0, 0]),
    );
    add(
        "gzip of two gigabytes",
        take,
        packed(GZIP, MAX, &gzip_zeros(1000)),
    );
    add(
        "brotli of two gigabytes",
        take,
        packed(BROTLI, MAX, &[0x5b, 0xff, 0xff, 0x7f]),
    );
    add("lz4 of two gigabytes", take, packed(LZ4, MAX, &[0xff; 99]));
    add(
        "raw lz4 of two gigabytes",
        take,
        packed(LZ4_RAW, MAX, &[0xff; 99]),
    );
    add(
        "zstd of two gigabytes",
        take,
        packed(ZSTD, MAX, &zstd_zeros(i32::MAX as u32)),
    );
    add("a size below zero", "cannot be", packed(SNAPPY, -1, &[0]));
    let claims = "than it claims";
    add(
        "gzip of 64 MiB that claims 100",
        claims,
        packed(GZIP, 100, &gzip_zeros(260_000)),
    );
    add(
        "zstd of 1 GiB that claims 100",
        "does not unpack",
        packed(ZSTD, 100, &zstd_zeros(1 << 30)),
    );
    add(
        "snappy of 4 GiB that claims 100",
        "does not unpack",
        packed(SNAPPY, 100, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]),
    );
    add(
        "less than it claims",
        "does not unpack",
        packed(ZSTD, 1 << 27, &zstd_zeros(1 << 20)),
    );
    add(
        "no stream at all",
        "claims",
        packed(GZIP, 1 << 27, b"no stream at all"),
    );
    // Large, and what it claims: an empty text and nothing but zeros behind it.
    add(
        "128 MiB of zeros",
        "",
        packed(ZSTD, 1 << 27, &zstd_zeros(1 << 27)),
    );
    let v2 = |definition, nulls| {
        let inner = vec![
            (1, T::Int(1)),
            (2, T::Int(nulls)),
            (3, T::Int(1)),
            (4, T::Int(0)),
            (5, T::Int(definition)),
            (6, T::Int(0)),
        ];
        with(1, tier(1).page(page(3, (8, inner), 8, &text(b"gold"))))
    };
    add("levels longer than the page", "levels are longer", v2(9, 0));
    add("levels of two gigabytes", "levels are longer", v2(MAX, 0));
    add("levels below zero", "cannot be", v2(-1, 0));
    add("more nulls than values", "more nulls", v2(0, 2));
    let optional = |body: &[u8]| with(1, tier(1).with(|it| it.repetition = 1).page(plain(1, body)));
    add(
        "levels of four gigabytes",
        "levels are longer",
        optional(&[0xff; 8]),
    );
    // A run of two thousand million levels stands for one.
    let run = [
        vec![6, 0, 0, 0],
        varints(&[0xffff_fffe]),
        vec![1],
        text(b"gold"),
    ]
    .concat();
    add("a run of levels without end", "", optional(&run));
}

fn dictionaries(add: Add<'_>) {
    let indices = |width: u8, rows: u64| [vec![width], varints(&[rows << 1]), vec![0]].concat();
    let column = |rows: i64, pages: &[Vec<u8>]| {
        let column = tier(rows).with(|it| it.dictionary = true);
        with(rows, column.page(pages.concat()))
    };
    let of = |rows: i64, body: &[u8]| data((rows, 8), body.len() as i64, body);
    let gold = dictionary(1, &text(b"gold"));
    let good = of(1, &indices(1, 1));
    let claims = "a dictionary that claims";
    add(
        "a dictionary of 2^31 texts",
        claims,
        column(1, &[dictionary(MAX, &text(b"gold")), good.clone()]),
    );
    let ages = Column::new("age", (INT32, None), 1).with(|it| it.dictionary = true);
    let numbers = ages.page(dictionary(MAX, &[0; 64])).page(good.clone());
    add("a dictionary of 2^31 numbers", claims, with(1, numbers));
    add(
        "two dictionaries",
        "a second dictionary",
        column(1, &[gold.clone(), gold.clone(), good.clone()]),
    );
    add(
        "no dictionary",
        "not there",
        column(1, std::slice::from_ref(&good)),
    );
    add(
        "places of 255 bits",
        "dictionary that cannot be",
        column(1, &[gold.clone(), of(1, &indices(255, 1))]),
    );
    add(
        "no places",
        "dictionary that cannot be",
        column(1, &[gold.clone(), of(1, &[])]),
    );
    let wrong = [vec![8], varints(&[2]), vec![200]].concat();
    add(
        "places outside of the dictionary",
        "invalid key",
        column(1, &[gold.clone(), of(1, &wrong)]),
    );
    add(
        "places without end",
        "insufficient values",
        column(1, &[gold, of(1, &indices(1, 1 << 60))]),
    );
    let vips = Column::new("is_vip", (BOOLEAN, None), 1).with(|it| it.dictionary = true);
    add(
        "a dictionary of booleans",
        "of booleans",
        with(1, vips.page(dictionary(1, &[1])).page(good)),
    );
    // A word of a megabyte, two thousand times.
    let word = dictionary(1, &text(&vec![b'x'; 1 << 20]));
    let file = column(2000, &[word, of(2000, &indices(1, 2000))]);
    add(
        "a word of a megabyte, 2000 times",
        "texts come to more than",
        file,
    );
}

fn deltas(add: Add<'_>) {
    let page = |encoding, body: &[u8]| data((1, encoding), body.len() as i64, body);
    let claims = "claims more values";
    let many = varints(&[128, 4, 1 << 40, 0]);
    let ages = Column::new("age", (INT32, None), 1);
    add(
        "2^40 packed numbers",
        claims,
        with(1, ages.page(page(5, &many))),
    );
    add(
        "2^40 packed lengths",
        claims,
        with(1, tier(1).page(page(6, &many))),
    );
    add(
        "2^40 shared beginnings",
        claims,
        with(1, tier(1).page(page(7, &many))),
    );
    let blocks = varints(&[1 << 50, 1 << 20, 1, 0]);
    add(
        "blocks of 2^50 numbers",
        "no writer uses",
        with(1, tier(1).page(page(6, &blocks))),
    );
    // Texts that begin as the one before and end there: each as long as the first.
    let rows = 20_000;
    let first = 1_u64 << 20;
    let mut prefixes = varints(&[128, 4, rows, 0]);
    // The second is all of the first: a step of 2^20 in 21 bits, then none.
    varint(&mut prefixes, 0);
    prefixes.extend([21, 0, 0, 0]);
    let mut bits = vec![0; 32 * 21 / 8];
    bits[20 / 8] = 1 << (20 % 8);
    prefixes.extend(bits);
    for _ in 1..(rows - 1).div_ceil(128) {
        prefixes.extend([0; 5]);
    }
    let mut suffixes = varints(&[128, 4, rows, zigzag(first as i64)]);
    // From 2^20 to nothing, and no step from there on: the least is -2^20.
    varint(&mut suffixes, zigzag(-(first as i64)));
    suffixes.extend([21, 21, 21, 21]);
    let mut bits = vec![0_u8; 128 * 21 / 8];
    for value in 1..128_usize {
        let at = value * 21 + 20;
        bits[at / 8] |= 1 << (at % 8);
    }
    suffixes.extend(bits);
    for _ in 1..(rows - 1).div_ceil(128) {
        suffixes.extend([0; 5]);
    }
    let body = [prefixes, suffixes, vec![b'x'; first as usize]].concat();
    let page = data((rows as i64, 7), body.len() as i64, &body);
    add(
        "20 GB by shared beginnings",
        "take more than",
        with(rows as i64, tier(rows as i64).page(page)),
    );
}

fn values(add: Add<'_>) {
    let time = |kind, body: &[u8]| {
        with(
            1,
            Column::new("event_timestamp", kind, 1).page(plain(1, body)),
        )
    };
    let range = "a timestamp out of range";
    add(
        "the end of time",
        range,
        time((INT64, Some(TIME_MICROS)), &i64::MAX.to_le_bytes()),
    );
    add(
        "before all time",
        range,
        time((INT64, Some(TIME_MICROS)), &i64::MIN.to_le_bytes()),
    );
    add(
        "a time that overflows",
        range,
        time((INT64, Some(TIME_MILLIS)), &i64::MAX.to_le_bytes()),
    );
    add(
        "an old time that overflows",
        "out of range",
        time((INT96, None), &[0xff; 12]),
    );
    add(
        "a time that is none",
        "a timestamp",
        time((BOOLEAN, None), &[1]),
    );
    add(
        "a time that is no number",
        "a timestamp",
        time((DOUBLE, None), &f64::NAN.to_le_bytes()),
    );
    let column = |name, kind, body: &[u8]| with(1, Column::new(name, kind, 1).page(plain(1, body)));
    add(
        "a key that is no number",
        "customer_id",
        column("customer_id", (DOUBLE, None), &f64::NAN.to_le_bytes()),
    );
    add(
        "a number beyond 32 bits",
        "age",
        column("age", (INT64, None), &i64::MAX.to_le_bytes()),
    );
    add(
        "an endless number",
        "age",
        column("age", (DOUBLE, None), &f64::INFINITY.to_le_bytes()),
    );
    add(
        "a number as text",
        "age",
        column("age", (BYTE_ARRAY, Some(UTF8)), &text(b"7")),
    );
    add(
        "text that is none",
        "utf-8",
        column("tier", (BYTE_ARRAY, Some(UTF8)), &text(&[0xff, 0xfe, 0x80])),
    );
    add(
        "a text longer than its page",
        "eof",
        column("tier", (BYTE_ARRAY, Some(UTF8)), &MAX.to_le_bytes()),
    );
    add(
        "a key of 5000 bytes",
        "customer_id",
        column(
            "customer_id",
            (BYTE_ARRAY, Some(UTF8)),
            &text(&[b'k'; 5000]),
        ),
    );
    add(
        "a text of 5 MiB",
        "tier",
        column(
            "tier",
            (BYTE_ARRAY, Some(UTF8)),
            &text(&vec![b'x'; 5 << 20]),
        ),
    );
    let mut twice = customers(1);
    twice.push(tier(1).page(plain(1, &text(b"lead"))));
    add("a column twice", "stands there twice", file(1, &twice));
    let mut fewer = customers(1);
    fewer.remove(2);
    add("a column missing", "no column tier", file(1, &fewer));
    let mut many = customers(1);
    many.extend(
        (0..20_000)
            .map(|i| Column::new(&format!("x{i}"), (INT32, None), 1).page(plain(1, &[0; 4]))),
    );
    add("20000 columns", "more than 16384 columns", file(1, &many));
}

/// Lists of `device_types`: one row, whose other columns are null.
fn lists() -> Vec<Bomb> {
    let names = [
        "f_bytes",
        "f_string",
        "f_int32",
        "f_int64",
        "f_float32",
        "f_float64",
        "f_bool",
        "f_ts",
        "f_uuid",
        "f_json",
        "l_bytes",
        "l_string",
        "l_int32",
        "l_float32",
        "l_float64",
        "l_bool",
        "l_ts",
    ];
    let null = |name: &str| {
        let levels = [2, 0, 0, 0, 2, 0];
        Column::new(name, (INT32, None), 1)
            .with(|it| it.repetition = 1)
            .page(plain(1, &levels))
    };
    let row = |list: Column| {
        let mut columns = vec![
            Column::new("event_timestamp", (INT64, Some(TIME_MICROS)), 1)
                .page(plain(1, &T0.to_le_bytes())),
            Column::new("device_id", (BYTE_ARRAY, Some(UTF8)), 1).page(plain(1, &text(b"dev"))),
        ];
        columns.extend(names.map(null));
        columns.push(list);
        file(1, &columns)
    };
    // All of them one list: the first level is 0, all others 1; each is there, and place 0.
    let run = |count: u64| {
        let body = [
            varints(&[1 << 1]),
            vec![0],
            varints(&[(count - 1) << 1]),
            vec![1],
        ]
        .concat();
        let levels = [varints(&[count << 1]), vec![1]].concat();
        let framed = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
        let places = [vec![1], varints(&[count << 1]), vec![0]].concat();
        [framed(&body), framed(&levels), places].concat()
    };
    let list = |claimed: i64, pages: &[u64]| {
        let mut column = Column::new("l_int64", (INT64, None), claimed)
            .with(|it| (it.repetition, it.dictionary) = (2, true))
            .page(dictionary(1, &[7; 8]));
        for count in pages {
            let body = run(*count);
            column = column.page(data((*count as i64, 8), body.len() as i64, &body));
        }
        row(column)
    };
    let bomb = |name, reason, bytes| Bomb {
        name,
        view: "device_types",
        bytes,
        reason,
    };
    vec![
        bomb("a good list", "", list(5, &[5])),
        bomb(
            "a list of 10^12 numbers",
            "values in",
            list(HUGE, &[1 << 20]),
        ),
        bomb(
            "a list of 2^31 numbers",
            "values in",
            list(MAX, &[MAX as u64]),
        ),
        bomb(
            "a list of more than it claims",
            "claims 5000000 values",
            list(100, &[5_000_000]),
        ),
        bomb(
            "a list larger than a row",
            "l_int64",
            list(4_000_000, &[4_000_000]),
        ),
    ]
}
