//! A small cluster for histories: a launch, its definition, Job and pods as the API server has them, and an
//! operator that sees them late.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{AJob, APod, Case, UID, an_offer, at};
use crate::api::seen::{SeenJob, SeenLaunch, SeenPod};
use crate::api::{Phase, TaskLaunchStatus};
use crate::inject::exporters::Offer;
use crate::launch::arrival::{Arrival, asked};
use crate::launch::{Answer, Evidence, LaunchPlan, LaunchSnapshot, MadeJob, Memory, Parent, Want, decide};
use crate::names::annotation;

/// What the API server says to a new Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Takes,
    Refuses,
    FindsInvalid,
    IsTaken,
    NamespaceGoes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    Good,
    Bad,
    Missing,
}

/// What happens to the last pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pulls(bool),
    Unschedulable,
    Runs,
    Exits(i32),
    IsEvicted,
    CannotRun,
    IsDeleted,
}

#[derive(Clone)]
struct Pod {
    seen: APod,
    started: Option<i64>,
    over: bool,
}

/// Where an operator dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    None,
    AfterTheJob,
    AfterTheStop,
    AfterTheStatus,
}

pub struct World {
    /// Seconds since the launch's creation.
    pub now: i64,
    /// How far the operator's clock is from that.
    pub skew: i64,
    pub definition: Definition,
    pub policy: Policy,
    pub launch: Value,
    version: i64,
    job: Option<AJob>,
    pods: Vec<Pod>,
    made: usize,
    pub backoff_limit: i64,
    /// What the stack of the namespace offers.
    pub offer: Option<Offer>,
    /// What it would say about the run's metrics.
    pub arrival: Arrival,
    // What the operator knows.
    seen_launch: Arc<SeenLaunch>,
    seen_job: Option<Arc<SeenJob>>,
    seen_pods: Vec<Arc<SeenPod>>,
    memory: Memory,
    next_id: i64,
    /// Whether the present operator has seen or made a Job of the launch, or its status names one.
    knows_a_job: bool,
}

impl World {
    pub fn new(backoff_limit: i64, skew: i64) -> Self {
        let launch = Case::at_second(0).launch;
        let mut world = Self {
            now: 0,
            skew,
            definition: Definition::Good,
            policy: Policy::Takes,
            launch,
            version: 5,
            job: None,
            pods: Vec::new(),
            made: 0,
            backoff_limit,
            offer: None,
            arrival: Arrival::NotObservable,
            seen_launch: Arc::default(),
            seen_job: None,
            seen_pods: Vec::new(),
            memory: Memory::default(),
            next_id: 41,
            knows_a_job: false,
        };
        world.see_launch();
        world
    }

    fn bump(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    fn touch_launch(&mut self) {
        self.launch["metadata"]["resourceVersion"] = json!(self.bump());
    }

    pub fn status(&self) -> TaskLaunchStatus {
        serde_json::from_value(self.launch["status"].clone()).unwrap_or_default()
    }

    pub fn is_over(&self) -> bool {
        self.status().phase.is_some_and(Phase::is_final)
    }

    // What people and controllers do.

    pub fn shut_down(&mut self) {
        self.launch["spec"]["shutdown"] = json!("Stop");
        self.launch["metadata"]["generation"] = json!(2);
        self.touch_launch();
    }

    pub fn delete_job(&mut self) {
        self.job = None;
        self.pods.clear();
    }

    pub fn suspend(&mut self, suspend: bool) {
        if self.job_is_over() {
            return;
        }
        if suspend {
            self.drop_pods();
        }
        self.change_job(json!({"spec": {"suspend": suspend}}));
    }

    /// Another operator, or this one before it died, made the Job.
    pub fn job_appears(&mut self) {
        if self.job.is_none() && self.policy == Policy::Takes && !self.is_over() {
            self.post();
        }
    }

    fn drop_pods(&mut self) {
        self.pods.retain(|pod| pod.over);
    }

    fn change_job(&mut self, over: Value) {
        let version = self.bump();
        let active = self.pods.iter().filter(|pod| !pod.over).count();
        if let Some(job) = &mut self.job {
            *job = job.clone().with(over).with(json!({
                "metadata": {"resourceVersion": version}, "status": {"active": active},
            }));
        }
    }

    fn job_is_over(&self) -> bool {
        self.job.as_ref().is_none_or(|job| job.0["status"]["conditions"].is_array())
    }

    /// The Job controller looks at its Job.
    pub fn control(&mut self) {
        let Some(job) = self.job.clone().filter(|_| !self.job_is_over()) else { return };
        let count = |over: &dyn Fn(&Pod) -> bool| self.pods.iter().filter(|pod| over(pod)).count();
        let succeeded = count(&|pod| pod.over && pod.seen.0["status"]["phase"] == "Succeeded");
        let failed = i64::try_from(count(&|pod| pod.over)).unwrap() - i64::try_from(succeeded).unwrap()
            + job.0["status"]["lost"].as_i64().unwrap_or_default();
        let suspended = job.0["spec"]["suspend"] == true;
        if job.0["spec"]["activeDeadlineSeconds"] == 1 && !suspended {
            for pod in self.pods.iter_mut().filter(|pod| !pod.over) {
                pod.end(143, self.now);
            }
            self.job = Some(job.past_its_deadline(self.now));
        } else if succeeded > 0 {
            self.job = Some(job.complete(self.now));
        } else if failed > self.backoff_limit {
            self.job = Some(job.over_its_limit(self.now));
        } else if !suspended && count(&|pod| !pod.over) == 0 && self.policy != Policy::Refuses {
            self.made += 1;
            let seen = APod::named(&format!("pod-{}", self.made), self.now);
            self.pods.push(Pod { seen, started: None, over: false });
        }
        let over = json!({"status": {"failed": failed, "succeeded": succeeded}});
        self.change_job(over);
    }

    /// The kubelet, the scheduler or somebody with `kubectl` acts on the last pod.
    pub fn befall(&mut self, fate: Fate) {
        let now = self.now;
        if fate == Fate::IsDeleted {
            // A finalizer keeps a pod that is over until the Job controller has counted it.
            if !self.job_is_over() && self.pods.last().is_some_and(|pod| pod.over) {
                return;
            }
            if self.pods.pop().is_some() && !self.job_is_over() {
                let lost =
                    self.job.as_ref().and_then(|job| job.0["status"]["lost"].as_i64()).unwrap_or_default();
                self.change_job(json!({"status": {"lost": lost + 1}}));
            }
            return;
        }
        let Some(pod) = self.pods.last_mut().filter(|pod| !pod.over) else { return };
        let start = |pod: &mut Pod| *pod.started.get_or_insert(now);
        match fate {
            Fate::Pulls(backs_off) if pod.started.is_none() => {
                let reason = if backs_off { "ImagePullBackOff" } else { "ErrImagePull" };
                pod.seen = pod.seen.clone().waiting(reason, "not found");
            }
            Fate::Unschedulable if pod.started.is_none() => pod.seen = pod.seen.clone().unschedulable(),
            Fate::Runs => {
                let since = start(pod);
                pod.seen = pod.seen.clone().container(&json!({})).running(since);
                pod.forget_waiting();
            }
            Fate::Exits(code) => {
                start(pod);
                pod.end(code, now);
            }
            Fate::IsEvicted => {
                pod.end(137, now);
                pod.seen = pod.seen.clone().condition(
                    "DisruptionTarget",
                    "True",
                    "EvictionByEvictionAPI",
                    "drained",
                );
            }
            Fate::CannotRun => pod.end(128, now),
            _ => {}
        }
    }

    // What the operator sees.

    pub fn see_launch(&mut self) {
        self.seen_launch = Arc::new(serde_json::from_value(self.launch.clone()).unwrap());
    }

    pub fn see_job(&mut self) {
        self.seen_job = self.job.clone().map(AJob::seen);
    }

    /// A deleted pod's last state is kept.
    pub fn see_pods(&mut self) {
        let alive: Vec<_> = self.pods.iter().map(|pod| pod.seen.clone().seen()).collect();
        let gone = |pod: &Arc<SeenPod>| !alive.iter().any(|p| p.metadata.uid == pod.metadata.uid);
        let mut all: Vec<_> = self.seen_pods.iter().filter(|pod| gone(pod)).cloned().collect();
        all.extend(alive);
        all.sort_by_key(|pod| {
            (pod.metadata.creation_timestamp.as_ref().map(|t| t.0), pod.metadata.name.clone())
        });
        self.seen_pods = all;
    }

    /// The operator dies; another comes and lists everything.
    pub fn restart(&mut self) {
        self.memory = Memory::default();
        self.knows_a_job = self.status().job_name.is_some();
        self.seen_pods.clear();
        self.see_launch();
        self.see_job();
        self.see_pods();
    }

    fn observe(&mut self) -> LaunchSnapshot {
        let now = at(self.now + self.skew);
        if self.seen_launch.final_phase().is_some() {
            self.memory = Memory::default();
        } else if let Some(job) = self.seen_job.as_ref().filter(|job| job.is_owned_by(UID)) {
            self.memory.job_made.get_or_insert_with(|| made(job, now));
        }
        let case = match self.definition {
            Definition::Good => Case::at_second(0).definition(&json!({
                "image": "i", "runPolicy": {"backoffLimit": self.backoff_limit},
            })),
            Definition::Bad => Case::at_second(0).definition(&json!({"podTemplate": {}})),
            Definition::Missing => Case::at_second(0).no_definition(),
        };
        let pods = if self.seen_job.is_some() { self.seen_pods.clone() } else { Vec::new() };
        LaunchSnapshot {
            now,
            launch: self.seen_launch.clone(),
            definition: case.rest.definition,
            parent: Parent::None,
            offer: self.offer.clone(),
            job: self.seen_job.clone(),
            pods,
            memory: self.memory.clone(),
            evidence: Evidence::default(),
        }
    }

    fn look_up(&mut self, want: Want, s: &mut LaunchSnapshot) {
        match want {
            Want::ExecutionId => {
                self.next_id += 1;
                s.evidence.execution_id = Some(self.next_id);
            }
            Want::Launch => {
                s.launch = Arc::new(serde_json::from_value(self.launch.clone()).unwrap());
                s.evidence.launch_is_there = Some(true);
            }
            Want::Job => {
                s.job = self.job.clone().map(AJob::seen);
                s.evidence.job_is_gone = s.job.is_none();
                s.pods = if s.job.is_some() { self.seen_pods.clone() } else { Vec::new() };
            }
            Want::Pods => {
                self.see_pods();
                s.pods = self.seen_pods.clone();
                s.evidence.pods_were_read = true;
            }
            Want::Refusal => {
                let why = (self.policy == Policy::Refuses).then(|| "exceeded quota".to_owned());
                self.memory.refusal = Some((s.now, why));
                s.memory = self.memory.clone();
            }
            Want::Arrival => {
                let asked = asked(s).expect("it is known whose metrics are asked for");
                assert_eq!(asked.stack, an_offer().stack);
                s.evidence.arrival = Some(self.arrival.clone());
            }
        }
    }

    /// One reconcile. What was decided goes to `check`, before it is carried out.
    pub fn reconcile(&mut self, death: Death, mut check: impl FnMut(&LaunchSnapshot, &LaunchPlan)) {
        for _ in 0..4 {
            let mut snapshot = self.observe();
            let mut plan = decide(&snapshot);
            let mut wanted = Vec::new();
            while let Some(want) = plan.want {
                assert!(!wanted.contains(&want), "{want:?} was looked up and is wanted again");
                wanted.push(want);
                self.look_up(want, &mut snapshot);
                plan = decide(&snapshot);
            }
            self.knows_a_job |= snapshot.job.is_some();
            check(&snapshot, &plan);
            if !self.apply(&plan, death) {
                return;
            }
        }
        panic!("answered again and again");
    }

    /// Whether the decision must be made again.
    fn apply(&mut self, plan: &LaunchPlan, death: Death) -> bool {
        if let Some(job) = &plan.create_job {
            let (answer, annotations) = (self.answer(), job.metadata.annotations.clone());
            if answer.is_none() && self.job.is_none() {
                assert!(!self.knows_a_job, "at most one Job");
                self.post();
                self.change_job(json!({"metadata": {"annotations": annotations}}));
            }
            if death == Death::AfterTheJob {
                self.restart();
                return false;
            }
            match answer {
                Some(answer) => {
                    self.memory.answer = Some(answer);
                    return true;
                }
                None => {
                    let seen = self.job.clone().unwrap().seen();
                    self.memory.job_made = Some(made(&seen, at(self.now + self.skew)));
                    self.memory.answer = None;
                    self.knows_a_job = true;
                }
            }
        }
        if let Some(stop) = &plan.stop_job {
            let now = self.job.as_ref().map(|job| job.0["metadata"]["resourceVersion"].clone());
            if now.is_some_and(|now| now != json!(stop.job.resource_version)) {
                return false;
            }
            let annotations = json!({annotation::STOP: stop.why});
            self.change_job(
                json!({"metadata": {"annotations": annotations}, "spec": {"activeDeadlineSeconds": 1}}),
            );
            if death == Death::AfterTheStop {
                self.restart();
                return false;
            }
        }
        if let Some(status) = &plan.status {
            let version = self.launch["metadata"]["resourceVersion"].as_str();
            if version != self.seen_launch.metadata.resource_version.as_deref() {
                return false;
            }
            self.launch["status"] = json!(status);
            self.touch_launch();
            if death == Death::AfterTheStatus {
                self.restart();
                return false;
            }
            self.see_launch();
        }
        if let Some(job) = &plan.delete_job {
            let now = self.job.as_ref().map(|job| job.0["metadata"]["resourceVersion"].clone());
            if now == Some(json!(job.resource_version)) {
                self.delete_job();
            }
        }
        false
    }

    fn answer(&self) -> Option<Answer> {
        match self.policy {
            _ if self.job.is_some() => None,
            Policy::Takes => None,
            Policy::Refuses => Some(Answer::Refused(at(self.now + self.skew), "exceeded quota".into())),
            Policy::FindsInvalid => Some(Answer::Invalid("invalid".into())),
            Policy::IsTaken => Some(Answer::NameTaken("Job x".into())),
            Policy::NamespaceGoes => Some(Answer::NamespaceGoes(at(self.now + self.skew))),
        }
    }

    fn post(&mut self) {
        let job = AJob::new().with(json!({
            "metadata": {"creationTimestamp": super::time(self.now)},
            "spec": {"backoffLimit": self.backoff_limit}, "status": {"active": 0},
        }));
        self.job = Some(job);
        self.change_job(json!({}));
    }
}

fn made(job: &SeenJob, now: jiff::Timestamp) -> MadeJob {
    MadeJob {
        at: now,
        name: job.metadata.name.clone().unwrap_or_default(),
        uid: job.metadata.uid.clone(),
        execution_id: job.execution_id(),
    }
}

impl Pod {
    fn end(&mut self, code: i32, now: i64) {
        self.over = true;
        self.seen = match self.started {
            Some(from) => self.seen.clone().exited(code, from, now),
            None => self.seen.clone().ended(&json!({"exitCode": code, "reason": "StartError"})),
        };
        self.forget_waiting();
    }

    fn forget_waiting(&mut self) {
        let status = &mut self.seen.0["status"];
        if status["conditions"][0]["type"] == "PodScheduled" {
            status.as_object_mut().unwrap().remove("conditions");
        }
    }
}
