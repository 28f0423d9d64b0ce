//! What samples mean as colours: what a source leaves unsaid, and what encoded pictures say.
//!
//! A player that is told nothing guesses the matrix by the size of what it plays: BT.709 for high definition, BT.601 below. The rungs of
//! one source have sizes on both sides, so that silence would make them look different. So the guess is made once, by the
//! source's size, and said in every rung.

use ffmpeg_next::ffi::{
    self, AVColorPrimaries as Primaries, AVColorRange as Range, AVColorSpace as Matrix,
    AVColorTransferCharacteristic as Transfer,
};

/// Pictures of at least this width or height are high definition.
const HIGH_DEFINITION: (i32, i32) = (1_280, 720);

/// Whether samples are red, green and blue.
pub(super) fn is_rgb(frame: &ffi::AVFrame) -> bool {
    frame.colorspace == Matrix::AVCOL_SPC_RGB
}

/// Fills in what the source's SPS does not say of matrix, primaries, transfer and range.
pub(super) fn say_unsaid(frame: &mut ffi::AVFrame) {
    let high = frame.width >= HIGH_DEFINITION.0 || frame.height >= HIGH_DEFINITION.1;
    if frame.colorspace == Matrix::AVCOL_SPC_UNSPECIFIED {
        frame.colorspace = if high { Matrix::AVCOL_SPC_BT709 } else { Matrix::AVCOL_SPC_SMPTE170M };
    }
    if frame.color_primaries == Primaries::AVCOL_PRI_UNSPECIFIED {
        frame.color_primaries = if high { Primaries::AVCOL_PRI_BT709 } else { Primaries::AVCOL_PRI_SMPTE170M };
    }
    if frame.color_trc == Transfer::AVCOL_TRC_UNSPECIFIED {
        // The curves of both are the same.
        frame.color_trc = if high { Transfer::AVCOL_TRC_BT709 } else { Transfer::AVCOL_TRC_SMPTE170M };
    }
    if frame.color_range == Range::AVCOL_RANGE_UNSPECIFIED {
        frame.color_range = Range::AVCOL_RANGE_MPEG;
    }
}

/// Says of a picture that the scaler made what it is: limited range, and BT.601 if it was RGB.
pub(super) fn say_scaled(frame: &mut ffi::AVFrame, from_rgb: bool) {
    if from_rgb {
        frame.colorspace = Matrix::AVCOL_SPC_SMPTE170M;
    }
    frame.color_range = Range::AVCOL_RANGE_MPEG;
}
