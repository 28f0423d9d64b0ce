//! Where a session is packaged: on the thread that hands the units in, or on a thread of its own.
//!
//! Packaging copies bytes and computes next to nothing. While nothing is encoded, handing each packet to another thread costs more than
//! the work itself, so it is done on the intake thread. Encoders are several and slow: they get a queue with a thread behind it.
//! Either way a failure or panic is told as that of the stage `package`, ends this session, and nobody else notices.

use tracing::Span as LogSpan;

use super::SessionSpec;
use super::wiring::{OnFailure, PACKAGE, WireError, report, spawn, tell};
use crate::flow::channel::{Depth, Receiver, Sender, bounded};
use crate::flow::stage::{self, Outcome, Stage};
use crate::media::Output;
use crate::media::segment::RenditionUnit;
use crate::package::{PackageError, Packager};

/// Name of the stage in logs and metrics.
const STAGE: &str = "package";

/// The package stage of one session.
#[derive(Debug)]
pub enum Packaging {
    /// On the caller's thread.
    Here(Packer),
    /// On its own.
    Thread {
        /// Its queue.
        units: Sender<RenditionUnit>,
        /// The thread.
        stage: Stage<PackageError>,
    },
    /// It failed, which was told; what comes is dropped while the session ends.
    Failed,
}

/// The packager and where its outputs go.
#[derive(Debug)]
pub struct Packer {
    packager: Packager,
    outputs: Sender<Output>,
    ready: Vec<Output>,
}

impl Packer {
    /// A packer on the thread that it is used on.
    pub fn new(packager: Packager, outputs: Sender<Output>) -> Self {
        Packer { packager, outputs, ready: Vec::new() }
    }

    /// Waits while the store's queue is full.
    fn push(&mut self, unit: RenditionUnit) -> Result<(), PackageError> {
        let result = self.packager.push(unit, &mut self.ready);
        // What was whole before an error is used.
        hand_on(&mut self.ready, &self.outputs);
        result
    }

    /// Closes the open segments with what they have.
    fn suspend(self) -> Result<(), PackageError> {
        let Packer { packager, outputs, mut ready } = self;
        let result = packager.suspend(&mut ready);
        hand_on(&mut ready, &outputs);
        result
    }

    /// The body of a thread.
    fn run(mut self, units: &Receiver<RenditionUnit>) -> Result<(), PackageError> {
        for unit in units.iter() {
            self.push(unit)?;
        }
        self.suspend()
    }
}

fn hand_on(ready: &mut Vec<Output>, outputs: &Sender<Output>) {
    for output in ready.drain(..) {
        // The store thread is gone only when it failed, which on_failure has reported.
        let _ = outputs.send(output);
    }
}

impl Packaging {
    /// Packages one unit, or hands it to the thread that does.
    pub fn push(&mut self, unit: RenditionUnit, on_failure: &OnFailure) {
        match self {
            // The thread is gone only when it failed, which on_failure has reported.
            Packaging::Thread { units, .. } => drop(units.send(unit)),
            Packaging::Here(packer) => {
                let outcome = stage::contain(STAGE, || packer.push(unit));
                if !matches!(outcome, Outcome::Finished) {
                    tell(on_failure, STAGE, &outcome);
                    *self = Packaging::Failed;
                }
            }
            Packaging::Failed => {}
        }
    }

    /// Moves the packaging to a thread of its own if it has none, and answers with its queue.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn queue(
        &mut self,
        spec: &SessionSpec,
        span: &LogSpan,
        on_failure: &OnFailure,
    ) -> Result<Sender<RenditionUnit>, WireError> {
        let (queue, packets) = match std::mem::replace(self, Packaging::Failed) {
            Packaging::Here(packer) => {
                let (units, packets) = bounded::<RenditionUnit>(PACKAGE);
                let stage = spawn(spec, STAGE, span, on_failure, move || packer.run(&packets))?;
                *self = Packaging::Thread { units: units.clone(), stage };
                return Ok(units);
            }
            Packaging::Thread { units, stage } => {
                let queue = units.clone();
                *self = Packaging::Thread { units, stage };
                return Ok(queue);
            }
            // Whoever sends into it is told that its receiver is gone.
            Packaging::Failed => bounded::<RenditionUnit>(PACKAGE),
        };
        drop(packets);
        Ok(queue)
    }

    /// The queue in front of its thread, if it has one.
    pub fn depth(&self) -> Option<Depth<RenditionUnit>> {
        match self {
            Packaging::Thread { units, .. } => Some(units.depth()),
            Packaging::Here(_) | Packaging::Failed => None,
        }
    }

    /// Waits until everything that was handed in is packaged and handed on.
    pub fn join(self) {
        match self {
            Packaging::Here(packer) => report(STAGE, stage::contain(STAGE, || packer.suspend())),
            Packaging::Thread { units, stage } => {
                drop(units);
                report(STAGE, stage.join());
            }
            Packaging::Failed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::live::tests::spec;
    use crate::media::segment::{Rendition, RenditionId};
    use crate::media::{Kind, Span, Track, Unit, VideoTrack};
    use crate::package::PackageSettings;

    /// One rendition of video, and where its outputs come out.
    fn packer() -> (Packer, Receiver<Output>) {
        let video = Rendition {
            name: "source".to_owned(),
            kind: Kind::Video,
            copied: true,
            bandwidth: 1_000_000,
            frame_rate: None,
        };
        let settings = PackageSettings {
            epoch: 1,
            part_target: Span::from_millis(334),
            renditions: [video].into(),
            resume: Vec::new(),
        };
        let (outputs, written) = bounded(super::super::wiring::STORE);
        (Packer::new(Packager::new(settings), outputs), written)
    }

    fn track(rendition: u8) -> RenditionUnit {
        let config = bytes::Bytes::from_static(b"\x01\x64\x00\x0d\xff\xe1\x00\x04\x67\x64\x00\x0d\x01\x00\x02\x68\xeb");
        let video = Track::Video(VideoTrack { config, ..VideoTrack::plain(1_280, 720, (30, 1)) });
        RenditionUnit { rendition: RenditionId(rendition), unit: Unit::Track(Arc::new(video)) }
    }

    /// On the caller's thread and on its own: what cannot be packaged is told once as that of the stage, what came before it
    /// is used, and what follows is dropped.
    #[test]
    fn what_cannot_be_packaged_fails_the_stage_once_wherever_it_runs() {
        for own_thread in [false, true] {
            let (packer, written) = packer();
            let mut packaging = Packaging::Here(packer);
            let told = Arc::<Mutex<Vec<(String, String)>>>::default();
            let on_failure: OnFailure = {
                let told = told.clone();
                Arc::new(move |stage, why| told.lock().expect("no panic").push((stage.to_owned(), why)))
            };
            if own_thread {
                packaging.queue(&spec(), &LogSpan::none(), &on_failure).expect("a thread");
            }
            for rendition in [0, 9, 0, 9] {
                packaging.push(track(rendition), &on_failure);
            }
            packaging.join();
            let words = ("package".to_owned(), "rendition 9 is not one of the session's".to_owned());
            assert_eq!(*told.lock().expect("no panic"), [words], "a thread of its own: {own_thread}");
            let outputs: Vec<_> = written.iter().collect();
            assert!(matches!(&outputs[..], [Output::Init(_)]), "{outputs:?}");
        }
    }
}
