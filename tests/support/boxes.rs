//! A reader of init segments and fragments (ISO/IEC 14496-12), independent of the daemon's writer. It reads what the tests
//! ask about and panics on anything that does not add up.

/// What an init segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Units per second of the only track.
    pub timescale: u32,
    /// Whether there is an edit list.
    pub edit_list: bool,
    /// Profile, constraint and level bytes of `avcC`, for video.
    pub avc: Option<[u8; 3]>,
    /// Width and height in coded pixels, for video.
    pub size: Option<(u16, u16)>,
    /// Horizontal and vertical spacing of `pasp`.
    pub pixel_aspect: Option<(u32, u32)>,
    /// Primaries, transfer and matrix of `colr`, and whether samples have their full range.
    pub colour: Option<([u16; 3], bool)>,
}

/// One sample of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Decoding time in units of the track.
    pub dts: u64,
    /// Presentation time in units of the track.
    pub pts: i64,
    /// Duration in units of the track.
    pub duration: u32,
    /// Bytes.
    pub size: u32,
    /// Decoding may start here.
    pub sync: bool,
}

/// The boxes in `bytes` as type and payload.
fn boxes(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = be32(rest) as usize;
        assert!((8..=rest.len()).contains(&size), "a box of {size} bytes in {}", rest.len());
        found.push((&rest[4..8], &rest[8..size]));
        rest = &rest[size..];
    }
    found
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

fn child<'a>(bytes: &'a [u8], kind: &str) -> Option<&'a [u8]> {
    boxes(bytes).into_iter().find(|(found, _)| *found == kind.as_bytes()).map(|(_, payload)| payload)
}

fn descend<'a>(bytes: &'a [u8], path: &[&str]) -> &'a [u8] {
    path.iter().fold(bytes, |inside, kind| child(inside, kind).unwrap_or_else(|| panic!("no {kind} of {path:?}")))
}

impl Init {
    /// Reads an init segment with one track.
    pub fn parse(bytes: &[u8]) -> Self {
        let moov = descend(bytes, &["moov"]);
        let tracks = boxes(moov).iter().filter(|(kind, _)| kind == b"trak").count();
        assert_eq!(tracks, 1, "CMAF has one track in a file");
        let trak = descend(moov, &["trak"]);
        let mdhd = descend(trak, &["mdia", "mdhd"]);
        let timescale = be32(&mdhd[if mdhd[0] == 1 { 20 } else { 12 }..]);
        // stsd: version and flags, entry count, then one entry; a visual sample entry has 78 bytes before its boxes.
        let entries = boxes(&descend(trak, &["mdia", "minf", "stbl", "stsd"])[8..]);
        assert_eq!(entries.len(), 1, "one sample entry");
        let (kind, entry) = entries[0];
        let video = (kind == b"avc1").then(|| &entry[78..]);
        let be16 = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
        let avc = video.map(|inside| {
            let record = descend(inside, &["avcC"]);
            [record[1], record[2], record[3]]
        });
        let pixel_aspect = video.and_then(|inside| child(inside, "pasp")).map(|pasp| (be32(pasp), be32(&pasp[4..])));
        let colour = video.and_then(|inside| child(inside, "colr")).map(|colr| {
            assert_eq!((&colr[..4], colr.len()), (&b"nclx"[..], 11), "code points, not a profile");
            ([4, 6, 8].map(|at| be16(&colr[at..])), colr[10] & 0x80 != 0)
        });
        let size = video.map(|_| (be16(&entry[24..]), be16(&entry[26..])));
        Init { timescale, edit_list: child(trak, "edts").is_some(), avc, size, pixel_aspect, colour }
    }
}

/// All samples of a segment, in decoding order, whatever number of fragments it has.
pub fn samples(segment: &[u8]) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut media_bytes = 0;
    for (kind, payload) in boxes(segment) {
        match kind {
            b"moof" => fragment(payload, &mut samples),
            b"mdat" => media_bytes += payload.len(),
            _ => {}
        }
    }
    let counted: u64 = samples.iter().map(|sample| u64::from(sample.size)).sum();
    assert_eq!(counted, media_bytes as u64, "the samples fill the mdat boxes");
    samples
}

#[derive(Default)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

/// Takes fields from the front of a full box.
struct Fields<'a> {
    rest: &'a [u8],
    flags: u32,
    version: u8,
}

impl<'a> Fields<'a> {
    fn new(payload: &'a [u8]) -> Self {
        Fields { version: payload[0], flags: be32(payload) & 0x00ff_ffff, rest: &payload[4..] }
    }

    fn u32(&mut self) -> u32 {
        let value = be32(self.rest);
        self.rest = &self.rest[4..];
        value
    }

    fn u64(&mut self) -> u64 {
        (u64::from(self.u32()) << 32) | u64::from(self.u32())
    }

    fn u32_if(&mut self, flag: u32) -> Option<u32> {
        (self.flags & flag != 0).then(|| self.u32())
    }
}

fn fragment(moof: &[u8], samples: &mut Vec<Sample>) {
    let traf = descend(moof, &["traf"]);
    let mut tfhd = Fields::new(descend(traf, &["tfhd"]));
    assert!(tfhd.flags & 0x02_0000 != 0, "default-base-is-moof is set");
    let _track = tfhd.u32();
    tfhd.u32_if(0x02);
    let defaults = Defaults {
        duration: tfhd.u32_if(0x08).unwrap_or(0),
        size: tfhd.u32_if(0x10).unwrap_or(0),
        flags: tfhd.u32_if(0x20).unwrap_or(0),
    };
    let mut tfdt = Fields::new(descend(traf, &["tfdt"]));
    let mut dts = if tfdt.version == 1 { tfdt.u64() } else { u64::from(tfdt.u32()) };
    for (_, trun) in boxes(traf).into_iter().filter(|(kind, _)| kind == b"trun") {
        let mut trun = Fields::new(trun);
        let count = trun.u32();
        trun.u32_if(0x01);
        let mut first_flags = trun.u32_if(0x04);
        for _ in 0..count {
            let duration = trun.u32_if(0x100).unwrap_or(defaults.duration);
            let size = trun.u32_if(0x200).unwrap_or(defaults.size);
            let flags = trun.u32_if(0x400).or(first_flags.take()).unwrap_or(defaults.flags);
            let offset = trun.u32_if(0x800).unwrap_or(0);
            // Version 1 has signed offsets.
            let offset = if trun.version == 0 { i64::from(offset) } else { i64::from(offset.cast_signed()) };
            let pts = i64::try_from(dts).expect("a time below 2^63") + offset;
            samples.push(Sample { dts, pts, duration, size, sync: flags & 0x01_0000 == 0 });
            dts += u64::from(duration);
        }
    }
}
