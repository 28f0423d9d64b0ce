//! x264's output as the rest of the daemon wants it: parameter sets as a [`VideoTrack`], access units with lengths.

use bytes::{BufMut, Bytes, BytesMut};

use crate::media::VideoTrack;
use crate::media::codec::h264::{
    H264Error, NAL_ACCESS_UNIT_DELIMITER, NAL_FILLER, NAL_PPS, NAL_SEI, NAL_SPS, nal_type, nals_annex_b,
    track_from_parameter_sets,
};

/// SEI payload type of x264's version text (H.264 D.1.1, `user_data_unregistered`).
const SEI_USER_DATA_UNREGISTERED: u8 = 5;

/// Describes an encoder's output from its extradata (Annex B). The SPS's timing is x264's time base, so the frame rate
/// is what the caller knows.
pub(super) fn track(extradata: &[u8], frame_rate: Option<(u32, u32)>) -> Result<VideoTrack, H264Error> {
    let of_type = |wanted: u8| nals_annex_b(extradata).filter(|nal| nal_type(nal) == wanted).collect::<Vec<_>>();
    let track = track_from_parameter_sets(&of_type(NAL_SPS), &of_type(NAL_PPS))?;
    Ok(VideoTrack { frame_rate, ..track })
}

/// Rewrites an access unit from start codes to 4-byte lengths. Parameter sets, delimiters, filler and x264's version
/// text are left out; other SEI (captions) stay.
pub(super) fn access_unit(annex_b: &[u8]) -> Bytes {
    // A start code of 3 bytes grows by 1; x264 writes 4 bytes before all but later slices of a frame.
    let mut out = BytesMut::with_capacity(annex_b.len() + 16);
    for nal in nals_annex_b(annex_b).filter(|nal| belongs(nal)) {
        // libavcodec counts a packet's bytes in 31 bits, so a NAL unit inside of it fits into 32.
        out.put_u32(u32::try_from(nal.len()).unwrap_or(u32::MAX));
        out.put_slice(nal);
    }
    out.freeze()
}

fn belongs(nal: &[u8]) -> bool {
    match nal_type(nal) {
        NAL_SPS | NAL_PPS | NAL_ACCESS_UNIT_DELIMITER | NAL_FILLER => false,
        NAL_SEI => nal.get(1) != Some(&SEI_USER_DATA_UNREGISTERED),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_become_lengths_and_only_pictures_and_captions_stay() {
        let stream = [
            &[0, 0, 0, 1, 9, 0xf0][..],
            &[0, 0, 0, 1, 0x67, 1, 2],
            &[0, 0, 0, 1, 0x68, 3],
            &[0, 0, 1, 6, 5, 7, 7],
            &[0, 0, 1, 6, 4, 8, 8],
            &[0, 0, 0, 1, 0x65, 10, 11, 12],
            &[0, 0, 1, 0x65, 13],
            &[0, 0, 0, 1, 12, 0xff],
        ]
        .concat();
        let expected =
            [&[0, 0, 0, 4, 6, 4, 8, 8][..], &[0, 0, 0, 4, 0x65, 10, 11, 12], &[0, 0, 0, 2, 0x65, 13]].concat();
        assert_eq!(access_unit(&stream), expected);
    }

    #[test]
    fn extradata_without_parameter_sets_is_refused() {
        assert_eq!(track(&[0, 0, 0, 1, 6, 5, 1], None), Err(H264Error::NoSps));
        assert_eq!(track(&[], None), Err(H264Error::NoSps));
    }
}
