//! Which program is taken: PAT and PMTs as they come and change.

use super::packet::Packet;
use super::section::Sections;
use super::tables::{Content, MAX_PROGRAMS, Pmt, Stream, read_pat, read_pmt};
use super::{Pid, ProgramChoice, TsError};

/// Where the PAT is.
const PAT_PID: Pid = 0;
/// How often an unchanged PAT is seen before programs without a PMT are no longer waited for. Both tables come about as often.
const PAT_PATIENCE: u32 = 4;

/// A program of the PAT in force.
#[derive(Debug)]
struct Program {
    number: u16,
    pid: Pid,
    pmt: Option<Pmt>,
}

/// Follows PAT and PMTs.
#[derive(Debug)]
pub(super) struct Programs {
    choice: ProgramChoice,
    pat: Sections,
    /// Programs of the sections of a PAT so far, and the number of the next section.
    gathered: (Vec<(u16, Pid)>, u8),
    programs: Vec<Program>,
    /// How often the PAT came without a change.
    repeats: u32,
    /// One for each PID that PMTs come on; several programs may share one.
    pmts: Vec<(Pid, Sections)>,
    /// `program_number` of the one that is taken.
    chosen: Option<u16>,
    told_missing: bool,
    /// Sections that were dropped.
    pub damaged: u64,
}

/// What a packet changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Another program is taken, or its PMT is another: see [`Programs::pmt`].
    Pmt,
    /// The program that was asked for is not there.
    Missing(TsError),
}

impl Programs {
    pub(super) fn new(choice: ProgramChoice) -> Self {
        Programs {
            choice,
            pat: Sections::default(),
            gathered: (Vec::new(), 0),
            programs: Vec::new(),
            repeats: 0,
            pmts: Vec::new(),
            chosen: None,
            told_missing: false,
            damaged: 0,
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.pat.held() + self.pmts.iter().map(|(_, sections)| sections.held()).sum::<usize>()
    }

    /// Something is missing here.
    pub(super) fn interrupt(&mut self) {
        self.pat.interrupt();
        self.pmts.iter_mut().for_each(|(_, sections)| sections.interrupt());
    }

    /// The PMT of the program that is taken.
    pub(super) fn pmt(&self) -> Option<&Pmt> {
        let program = self.programs.iter().find(|program| Some(program.number) == self.chosen)?;
        program.pmt.as_ref()
    }

    /// Takes any packet; those of other PIDs change nothing.
    pub(super) fn push(&mut self, packet: &Packet<'_>) -> Change {
        if packet.pid == PAT_PID {
            let mut sections = std::mem::take(&mut self.pat);
            let mut changed = false;
            self.damaged += sections.push(packet, |section| changed |= self.read_pat(section));
            self.pat = sections;
            return self.choose(changed);
        }
        let Some((_, sections)) = self.pmts.iter_mut().find(|(pid, _)| *pid == packet.pid) else { return Change::None };
        let (programs, chosen) = (&mut self.programs, self.chosen);
        let (mut changed, mut changed_chosen) = (false, false);
        self.damaged += sections.push(packet, |section| {
            let Some(pmt) = read_pmt(section) else { return };
            let here = |program: &&mut Program| program.number == pmt.program && program.pid == packet.pid;
            let Some(program) = programs.iter_mut().find(here) else { return };
            if program.pmt.as_ref() != Some(&pmt) {
                changed = true;
                changed_chosen |= chosen == Some(pmt.program);
                program.pmt = Some(pmt);
            }
        });
        if changed { self.choose(changed_chosen) } else { Change::None }
    }

    /// Whether the program that is taken is gone.
    fn read_pat(&mut self, section: &[u8]) -> bool {
        let Some(section) = read_pat(section) else { return false };
        let (programs, next) = &mut self.gathered;
        if section.number == 0 {
            programs.clear();
        } else if section.number != *next {
            *next = 0; // one is missing: from the first one on again
            return false;
        }
        programs.extend(section.programs.into_iter().take(MAX_PROGRAMS - programs.len()));
        if section.number != section.last {
            *next = section.number.saturating_add(1);
            return false;
        }
        *next = 0;
        let listed = std::mem::take(programs);
        let is_same = |(program, listed): (&Program, &(u16, Pid))| (program.number, program.pid) == *listed;
        if listed.len() == self.programs.len() && self.programs.iter().zip(&listed).all(is_same) {
            self.repeats = self.repeats.saturating_add(1);
            return false;
        }
        self.take_over(&listed);
        // Its PMT may have moved to another PID: then that is waited for, and its streams go on.
        let gone = self.chosen.is_some_and(|chosen| !listed.iter().any(|(number, _)| *number == chosen));
        self.chosen = self.chosen.filter(|_| !gone);
        gone
    }

    fn take_over(&mut self, listed: &[(u16, Pid)]) {
        let mut before = std::mem::take(&mut self.programs);
        let mut pmt_of =
            |number, pid| before.iter_mut().find(|program| (program.number, program.pid) == (number, pid))?.pmt.take();
        self.programs = listed.iter().map(|&(number, pid)| Program { number, pid, pmt: pmt_of(number, pid) }).collect();
        self.pmts.retain(|(pid, _)| listed.iter().any(|(_, listed)| listed == pid));
        for (_, pid) in listed {
            if !self.pmts.iter().any(|(there, _)| there == pid) {
                self.pmts.push((*pid, Sections::default()));
            }
        }
        self.repeats = 0;
        self.told_missing = false;
    }

    /// Takes a program if none is taken and enough is known.
    fn choose(&mut self, changed: bool) -> Change {
        if self.chosen.is_some() {
            return if changed { Change::Pmt } else { Change::None };
        }
        let waits = self.repeats < PAT_PATIENCE && self.programs.iter().any(|program| program.pmt.is_none());
        let with = |wanted: fn(&Pmt) -> bool| {
            self.programs.iter().find(|program| program.pmt.as_ref().is_some_and(wanted)).map(|program| program.number)
        };
        self.chosen = match self.choice {
            ProgramChoice::Number(number) => Some(number)
                .filter(|_| self.programs.iter().any(|program| program.number == number && program.pmt.is_some())),
            ProgramChoice::FirstWithVideo if waits => None,
            ProgramChoice::FirstWithVideo => {
                with(Pmt::has_video).or_else(|| with(Pmt::has_audio)).or_else(|| with(|_| true))
            }
        };
        match (self.chosen, self.choice) {
            (Some(_), _) => Change::Pmt,
            (None, ProgramChoice::Number(number)) if self.repeats >= PAT_PATIENCE && !self.told_missing => {
                self.told_missing = true;
                Change::Missing(TsError::NoProgram(number))
            }
            _ if changed => Change::Pmt,
            _ => Change::None,
        }
    }
}

/// The streams of `pmt` that are taken: those of `before` that are still there, else the first of each kind.
pub(super) fn select(pmt: &Pmt, before: [Option<Stream>; 2]) -> [Option<Stream>; 2] {
    let kinds: [fn(&Content) -> bool; 2] =
        [|content| matches!(content, Content::Video(_)), |content| matches!(content, Content::Audio(..))];
    let mut taken = before.map(|before| before.filter(|before| pmt.streams.contains(before)));
    for (taken, is_kind) in taken.iter_mut().zip(kinds) {
        *taken = taken.or_else(|| pmt.streams.iter().find(|stream| is_kind(&stream.content)).copied());
    }
    taken
}
