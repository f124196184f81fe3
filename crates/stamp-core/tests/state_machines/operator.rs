//! Operators' orders, with the journal that makes them last: over reloads that declare something
//! else, restarts, and a journal that was torn while it was written.

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use stamp_core::id::StampId;
use stamp_core::operator::journal::{self, Tail};
use stamp_core::operator::{
    self, Decision, Force, OperatorRecord, OperatorRefusal, Order, Subject,
};
use stamp_core::standing::OperatorState;
use stamp_core::time::UnixSeconds;

/// What should hold of the stamp.
#[derive(Clone, Debug)]
struct Model {
    declared: OperatorState,
    /// The last order that was taken: a drain, or an undrain against this declaration.
    word: Option<Word>,
    /// What the last order should have come to.
    expected: Option<Expected>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Drain,
    Undrain { against: OperatorState },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Taken,
    AlreadySo,
    Refused(OperatorRefusal),
}

#[derive(Clone, Debug)]
enum Transition {
    Drain { stranded: u32, force: Force },
    Undrain,
    Declare(OperatorState),
    Restart { torn_bytes: usize },
}

impl Model {
    fn holds(&self) -> OperatorState {
        match self.word {
            Some(Word::Drain) => OperatorState::Draining,
            Some(Word::Undrain { against }) if against == self.declared => OperatorState::Active,
            Some(Word::Undrain { .. }) | None => self.declared,
        }
    }

    fn drain(&mut self, stranded: u32, force: Force) -> Expected {
        if self.word == Some(Word::Drain) {
            return Expected::AlreadySo;
        }
        if self.holds() == OperatorState::Active && stranded > 0 && force == Force::Refuse {
            return Expected::Refused(OperatorRefusal::WouldStrand { tenants: stranded });
        }
        self.word = Some(Word::Drain);
        Expected::Taken
    }

    fn undrain(&mut self) -> Expected {
        if self.holds() != OperatorState::Draining {
            return Expected::Refused(OperatorRefusal::NotDraining);
        }
        self.word = Some(Word::Undrain { against: self.declared });
        Expected::Taken
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self { declared: OperatorState::Active, word: None, expected: None }).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Transition> {
        let force = prop::sample::select(vec![Force::Refuse, Force::Strand]);
        let declared = prop::sample::select(vec![
            OperatorState::Active,
            OperatorState::Draining,
            OperatorState::Maintenance,
        ]);
        prop_oneof![
            3 => (0..3_u32, force)
                .prop_map(|(stranded, force)| Transition::Drain { stranded, force }),
            3 => Just(Transition::Undrain),
            2 => declared.prop_map(Transition::Declare),
            2 => (0..20_usize).prop_map(|torn_bytes| Transition::Restart { torn_bytes }),
        ]
        .boxed()
    }

    fn apply(mut model: Self, transition: &Transition) -> Self {
        model.expected = match transition {
            Transition::Drain { stranded, force } => Some(model.drain(*stranded, *force)),
            Transition::Undrain => Some(model.undrain()),
            Transition::Declare(declared) => {
                model.declared = *declared;
                None
            }
            Transition::Restart { .. } => None,
        };
        model
    }
}

/// A stamp's record in memory, and the journal that it comes from after a restart.
#[derive(Debug, Default)]
struct Gateway {
    record: Option<OperatorRecord>,
    journal: String,
}

impl Gateway {
    fn take(&mut self, decided: Result<Decision, OperatorRefusal>) -> Expected {
        match decided {
            Ok(Decision::Commit(entry)) => {
                self.journal.push_str(&journal::encode(&entry));
                self.record = Some(entry.record);
                Expected::Taken
            }
            Ok(Decision::AlreadySo) => Expected::AlreadySo,
            Err(refusal) => Expected::Refused(refusal),
        }
    }

    /// The process dies while it writes one more line, of which so many bytes reach the disk.
    fn restart(&mut self, torn_bytes: usize) {
        let cut = "0badf00d {\"v\":1,\"stamp\":\"a\"".split_at(torn_bytes).0;
        let replayed = journal::replay(format!("{}{cut}", self.journal).as_bytes()).unwrap();
        let sound_bytes = self.journal.len();
        let tail = if cut.is_empty() { Tail::Whole } else { Tail::Torn { sound_bytes } };
        assert_eq!(replayed.tail, tail);
        let record = replayed.records.into_values().next();
        assert_eq!(record, self.record, "a restart changes nothing");
        self.record = record;
    }
}

struct Beside;

impl StateMachineTest for Beside {
    type SystemUnderTest = Gateway;
    type Reference = Model;

    fn init_test(_: &Model) -> Gateway {
        Gateway::default()
    }

    fn apply(mut gateway: Gateway, model: &Model, transition: Transition) -> Gateway {
        let id = StampId::parse("a").unwrap();
        let record = gateway.record.clone();
        let subject = Subject { stamp: &id, declared: model.declared, record: record.as_ref() };
        let order = |force| Order {
            reason: "work".into(),
            actor: "ana".into(),
            at: UnixSeconds(7),
            deadline: None,
            force,
        };
        let outcome = match transition {
            Transition::Drain { stranded, force } => {
                Some(gateway.take(operator::drain(subject, stranded, order(force))))
            }
            Transition::Undrain => {
                Some(gateway.take(operator::undrain(subject, order(Force::Refuse))))
            }
            Transition::Declare(_) => None,
            Transition::Restart { torn_bytes } => {
                gateway.restart(torn_bytes);
                None
            }
        };
        assert_eq!(outcome, model.expected);
        gateway
    }

    fn check_invariants(gateway: &Gateway, model: &Model) {
        let holds = operator::effective(model.declared, gateway.record.as_ref());
        assert_eq!(holds, model.holds());
    }
}

prop_state_machine! {
    #[test]
    fn orders_hold_as_their_model_says(sequential 1..60 => Beside);
}
