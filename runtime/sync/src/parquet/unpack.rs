//! Compressed pages into bytes: exactly as many as the page's header says, never more.
//!
//! The codecs behind the Parquet decoder go on for as long as a stream does; here each is given the
//! room there is, and a stream that has more than that is refused when it is full.

use std::io::Read;

use parquet::basic::Compression;

/// Bytes a stream is read by.
const STREAM_BUFFER: usize = 16 << 10;

/// Why a page cannot be unpacked.
pub(super) type Refused = &'static str;

/// A column's codec.
pub(super) struct Unpacker {
    codec: Compression,
    /// Kept from page to page.
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

// === impl Unpacker ===

impl Unpacker {
    /// The codec of a column.
    pub(super) fn new(codec: Compression) -> Self {
        Self { codec, zstd: None }
    }

    /// Fills `room` with what `packed` stands for.
    pub(super) fn fill(&mut self, packed: &[u8], room: &mut [u8]) -> Result<(), Refused> {
        const WRONG: Refused = "it does not unpack to the bytes it claims";
        let size = room.len();
        let exactly = |length: usize| if length == size { Ok(()) } else { Err(WRONG) };
        match self.codec {
            Compression::UNCOMPRESSED if packed.len() == room.len() => {
                room.copy_from_slice(packed);
                Ok(())
            }
            Compression::UNCOMPRESSED => Err(WRONG),
            Compression::SNAPPY => {
                let claimed = snap::raw::decompress_len(packed).map_err(|_| WRONG)?;
                exactly(claimed)?;
                let length = snap::raw::Decoder::new().decompress(packed, room);
                exactly(length.map_err(|_| WRONG)?)
            }
            Compression::GZIP(_) => stream(flate2::read::MultiGzDecoder::new(packed), room),
            Compression::BROTLI(_) => {
                stream(brotli::Decompressor::new(packed, STREAM_BUFFER), room)
            }
            Compression::ZSTD(_) => {
                if self.zstd.is_none() {
                    let made = zstd::bulk::Decompressor::new();
                    self.zstd = Some(made.map_err(|_| "no memory to unpack it")?);
                }
                let zstd = self.zstd.as_mut().ok_or(WRONG)?;
                let length = zstd.decompress_to_buffer(packed, room);
                exactly(length.map_err(|_| WRONG)?)
            }
            Compression::LZ4_RAW => lz4_block(packed, room),
            // Writers of three kinds have used this name.
            Compression::LZ4 => lz4_of_hadoop(packed, room)
                .or_else(|_| stream(lz4_flex::frame::FrameDecoder::new(packed), room))
                .or_else(|_| lz4_block(packed, room)),
            _ => Err("it is packed by a codec that is not read here"),
        }
    }
}

/// Reads `from` into `room`, which it fills to the last byte.
fn stream(mut from: impl Read, room: &mut [u8]) -> Result<(), Refused> {
    from.read_exact(room)
        .map_err(|_| "it unpacks to fewer bytes than it claims, or not at all")?;
    match from.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err("it unpacks to more bytes than it claims"),
        Err(_) => Err("what it is packed in is damaged at its end"),
    }
}

fn lz4_block(packed: &[u8], room: &mut [u8]) -> Result<(), Refused> {
    match lz4_flex::block::decompress_into(packed, room) {
        Ok(length) if length == room.len() => Ok(()),
        _ => Err("it does not unpack to the bytes it claims"),
    }
}

/// Blocks behind each other, each after its two lengths: of the bytes it stands for, and its own.
fn lz4_of_hadoop(mut packed: &[u8], mut room: &mut [u8]) -> Result<(), Refused> {
    const WRONG: Refused = "its blocks are not as long as they claim";
    while !packed.is_empty() {
        let (whole, rest) = packed.split_first_chunk::<4>().ok_or(WRONG)?;
        let (own, rest) = rest.split_first_chunk::<4>().ok_or(WRONG)?;
        let own = u32::from_be_bytes(*own) as usize;
        let (block, rest) = rest.split_at_checked(own).ok_or(WRONG)?;
        let whole = u32::from_be_bytes(*whole) as usize;
        let (here, beyond) = room.split_at_mut_checked(whole).ok_or(WRONG)?;
        lz4_block(block, here)?;
        (packed, room) = (rest, beyond);
    }
    if room.is_empty() { Ok(()) } else { Err(WRONG) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const SIZE: usize = 1 << 20;

    /// A megabyte of zeros, packed each way.
    fn packed() -> Vec<(Compression, Vec<u8>)> {
        let zeros = vec![0_u8; SIZE];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
        gzip.write_all(&zeros).unwrap();
        let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
        brotli.write_all(&zeros).unwrap();
        let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
        frame.write_all(&zeros).unwrap();
        let block = lz4_flex::block::compress(&zeros);
        let own = u32::try_from(block.len()).unwrap();
        let whole = u32::try_from(SIZE).unwrap();
        let hadoop = [&whole.to_be_bytes()[..], &own.to_be_bytes(), &block].concat();
        vec![
            (Compression::UNCOMPRESSED, zeros.clone()),
            (
                Compression::SNAPPY,
                snap::raw::Encoder::new().compress_vec(&zeros).unwrap(),
            ),
            (
                Compression::GZIP(Default::default()),
                gzip.finish().unwrap(),
            ),
            (Compression::BROTLI(Default::default()), brotli.into_inner()),
            (
                Compression::ZSTD(Default::default()),
                zstd::bulk::compress(&zeros, 3).unwrap(),
            ),
            (Compression::LZ4_RAW, block.clone()),
            (Compression::LZ4, hadoop),
            (Compression::LZ4, frame.finish().unwrap()),
            (Compression::LZ4, block),
        ]
    }

    #[test]
    fn each_codec_fills_the_room_there_is_and_no_more() {
        for (codec, bytes) in packed() {
            let fill = |size: usize, bytes: &[u8]| {
                let mut room = vec![1_u8; size];
                let done = Unpacker::new(codec).fill(bytes, &mut room);
                done.map(|()| room.iter().all(|byte| *byte == 0))
            };
            assert_eq!(fill(SIZE, &bytes), Ok(true), "{codec}");
            assert!(fill(SIZE - 1, &bytes).is_err(), "{codec}: more");
            assert!(fill(SIZE + 1, &bytes).is_err(), "{codec}: fewer");
            assert!(fill(0, &bytes).is_err(), "{codec}: none");
            assert!(
                fill(SIZE, &bytes[..bytes.len() / 2]).is_err(),
                "{codec}: cut"
            );
            assert!(fill(SIZE, &[0xa5; 99]).is_err(), "{codec}: anything");
        }
        let lzo = Unpacker::new(Compression::LZO).fill(&[], &mut []);
        assert!(lzo.is_err());
    }
}
