//! Random histories: events in any order, late, dropped; operators that die between any two requests.

use proptest::prelude::*;

use super::world::{Death, Definition, Fate, Policy, World};
use super::{an_offer, line};
use crate::api::conditions::MESSAGE_MAX_BYTES;
use crate::api::seen::Guarded;
use crate::api::{Phase, TaskLaunchStatus};
use crate::inject::exporters::Offer;
use crate::launch::arrival::Arrival;
use crate::launch::{LaunchPlan, LaunchSnapshot, decide};
use crate::names::{condition, reason};

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(i64),
    Reconcile(Death),
    Restart,
    SeeLaunch,
    SeeJob,
    SeePods,
    Control,
    Befall(Fate),
    Define(Definition),
    Answer(Policy),
    Suspend(bool),
    /// A stack appears, whose proxy is ready or not; or goes.
    Monitor(Option<bool>),
    /// What the proxies would say.
    Arrive(u8),
    ShutDown,
    DeleteJob,
    JobAppears,
}

fn step() -> impl Strategy<Value = Step> {
    use Definition::{Bad, Good, Missing};
    use Policy::{FindsInvalid, IsTaken, NamespaceGoes, Refuses, Takes};
    let death = prop_oneof![
        8 => Just(Death::None), 1 => Just(Death::AfterTheJob),
        1 => Just(Death::AfterTheStop), 1 => Just(Death::AfterTheStatus),
    ];
    let fate = prop_oneof![
        1 => any::<bool>().prop_map(Fate::Pulls),
        1 => Just(Fate::Unschedulable),
        6 => Just(Fate::Runs),
        6 => prop_oneof![Just(0), Just(3), Just(137)].prop_map(Fate::Exits),
        1 => Just(Fate::IsEvicted),
        1 => Just(Fate::CannotRun),
        1 => Just(Fate::IsDeleted),
    ];
    let wait = prop_oneof![30 => 0..8_i64, 3 => 50..70_i64, 1 => Just(3600)];
    let definition = prop_oneof![2 => Just(Good), 1 => Just(Bad), 1 => Just(Missing)];
    let policy = prop_oneof![
        6 => Just(Takes), 3 => Just(Refuses), 1 => Just(FindsInvalid), 1 => Just(IsTaken), 1 => Just(NamespaceGoes),
    ];
    prop_oneof![
        24 => wait.prop_map(Step::Wait),
        60 => death.prop_map(Step::Reconcile),
        4 => Just(Step::Restart),
        8 => Just(Step::SeeLaunch),
        30 => Just(Step::SeeJob),
        30 => Just(Step::SeePods),
        50 => Just(Step::Control),
        50 => fate.prop_map(Step::Befall),
        3 => definition.prop_map(Step::Define),
        3 => policy.prop_map(Step::Answer),
        3 => any::<bool>().prop_map(Step::Suspend),
        6 => any::<Option<bool>>().prop_map(Step::Monitor),
        3 => (0..4_u8).prop_map(Step::Arrive),
        2 => Just(Step::ShutDown),
        2 => Just(Step::DeleteJob),
        2 => Just(Step::JobAppears),
    ]
}

/// What holds for every decision.
fn check(s: &LaunchSnapshot, plan: &LaunchPlan) {
    assert_eq!(plan, &decide(s), "the same snapshot gives the same plan");
    let before = s.launch.status.as_result().cloned().unwrap_or_default();
    if plan.create_job.is_some() {
        assert_eq!(before.job_name, None, "a Job on record is never made again");
        assert_eq!(s.memory.job_made, None, "a Job that this process knows is never made again");
        assert!(s.job.is_none() && plan.status.is_none() && plan.stop_job.is_none());
    }
    if before.phase.is_some_and(Phase::is_final) {
        assert!(plan.status.is_none() && plan.create_job.is_none(), "a finished launch stays finished");
    }
    assert!(plan.warning.is_none() || plan.status.is_some(), "an event goes with a status");
    let Some(status) = plan.status.as_deref() else { return };
    check_status(s, &before, status);

    let mut after = s.clone();
    let mut launch = (*s.launch).clone();
    launch.status = Guarded::Read(status.clone());
    after.launch = launch.into();
    let again = decide(&after);
    assert!(
        again.status.is_none() && again.warning.is_none() && again.create_job.is_none(),
        "a plan applied twice writes nothing the second time: {}, then {}",
        line(plan),
        line(&again)
    );
}

fn check_status(s: &LaunchSnapshot, before: &TaskLaunchStatus, status: &TaskLaunchStatus) {
    assert_ne!(before, status);
    let spec = s.launch.spec.as_result().unwrap();
    let mut types: Vec<_> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), status.conditions.len(), "one condition of each type");
    assert!(status.message.iter().all(|m| m.len() <= MESSAGE_MAX_BYTES));
    assert!(status.conditions.iter().all(|c| c.message.len() <= MESSAGE_MAX_BYTES && !c.reason.is_empty()));
    assert!(before.execution_id.is_none_or(|id| status.execution_id == Some(id)), "one id for ever");
    let said = |type_: &str| status.conditions.iter().find(|c| c.type_ == type_).map(|c| c.status.as_str());
    let yes_if = |yes: bool| Some(if yes { "True" } else { "False" });
    let phase = status.phase.unwrap();
    assert!(said(condition::ACCEPTED).is_some() || status.job_name.is_none());
    assert_eq!(said(condition::METRICS_RECEIVED).is_some(), phase.is_final(), "told at the end, not before");
    if !phase.is_final() {
        assert_ne!(said(condition::FINISHED), Some("True"));
        assert!(status.exit_code.is_none() && status.completion_time.is_none());
        return;
    }
    assert_eq!(said(condition::FINISHED), Some("True"));
    assert_eq!(said(condition::SUCCEEDED), yes_if(phase == Phase::Succeeded));
    assert_eq!(said(condition::STARTED), yes_if(status.start_time.is_some() || phase == Phase::Succeeded));
    let never = said(condition::STARTED) == Some("False");
    assert!(!never || said(condition::METRICS_RECEIVED) != Some("True"), "what never ran sent nothing");
    assert!(status.completion_time.is_some() && status.duration.is_some() == status.start_time.is_some());
    let job = s.job.as_ref();
    match phase {
        Phase::Succeeded => {
            assert!(job.and_then(|job| job.end()).is_some_and(|end| end.type_ == "Complete"));
            assert!(status.reason.is_none() && matches!(status.exit_code, None | Some(0)), "{status:?}");
        }
        Phase::Failed => {
            let reason = status.reason.as_deref().unwrap();
            assert!(FAILURES.contains(&reason), "{reason}");
            assert!(status.message.is_some());
            assert!(reason != reason::NON_ZERO_EXIT || status.exit_code != Some(0), "{status:?}");
        }
        _ => assert!(spec.shutdown.is_some(), "stopped only when asked"),
    }
}

/// The closed set of contract §2.
const FAILURES: [&str; 11] = [
    reason::NON_ZERO_EXIT,
    reason::OOM_KILLED,
    reason::EVICTED,
    reason::DEADLINE_EXCEEDED,
    reason::START_DEADLINE_EXCEEDED,
    reason::IMAGE_PULL_FAILED,
    reason::UNSCHEDULABLE,
    reason::POD_REFUSED,
    reason::JOB_LOST,
    reason::JOB_NAME_TAKEN,
    reason::INVALID_POD,
];

fn arrival(what: u8) -> Arrival {
    match what {
        0 => Arrival::Received { door: "tcp".to_owned(), series: 97, pushed: true },
        1 => Arrival::NoBody { connected: false },
        2 => Arrival::Unreachable("it is silent".to_owned()),
        _ => Arrival::NotObservable,
    }
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Wait(seconds) => world.now += seconds,
        Step::Reconcile(death) => world.reconcile(death, check),
        Step::Restart => world.restart(),
        Step::SeeLaunch => world.see_launch(),
        Step::SeeJob => world.see_job(),
        Step::SeePods => world.see_pods(),
        Step::Control => world.control(),
        Step::Befall(fate) => world.befall(fate),
        Step::Define(definition) => world.definition = definition,
        Step::Answer(policy) => world.policy = policy,
        Step::Suspend(suspend) => world.suspend(suspend),
        Step::Monitor(ready) => {
            world.offer = ready.map(|proxy_ready| Offer { proxy_ready, ..an_offer() });
        }
        Step::Arrive(what) => world.arrival = arrival(what),
        Step::ShutDown => world.shut_down(),
        Step::DeleteJob => world.delete_job(),
        Step::JobAppears => world.job_appears(),
    }
}

/// The world calms down: every task ends well, every event arrives, and so every launch must end.
fn calm_down(world: &mut World) {
    world.policy = Policy::Takes;
    world.definition = Definition::Good;
    world.suspend(false);
    world.restart();
    for _ in 0..20 {
        if world.is_over() {
            return;
        }
        world.control();
        world.befall(Fate::Exits(0));
        world.control();
        world.see_launch();
        world.see_job();
        world.see_pods();
        world.reconcile(Death::None, check);
        world.now += 6;
    }
    panic!("it never ended: {:?}", world.status());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(
        backoff_limit in 0..3_i64,
        skew in prop_oneof![20 => Just(0), 4 => -9..9_i64, 2 => Just(-3600), 1 => Just(3600)],
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(backoff_limit, skew);
        let mut end = None;
        for step in steps {
            take(&mut world, step);
            if end.is_none() && world.is_over() {
                end = Some(world.status());
            }
            prop_assert!(end.as_ref().is_none_or(|end| *end == world.status()), "a finished launch stays finished");
        }
        calm_down(&mut world);
        prop_assert!(end.is_none_or(|end| end == world.status()), "a finished launch stays finished");
    }
}
