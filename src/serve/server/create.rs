//! A new container: looked up, decided, fenced, covered, and made of a body that ringfence wrote.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bollard::models::{Mount, MountType, MountVolumeOptions};
use serde_json::{Value, json};

use super::fences::{Claim, broken, random, words};
use super::files::{BindAsk, LookedFiles, look};
use super::http::{Answer, Sent, json, read};
use super::image_links::{LABEL_LOOK, LookedImage};
use super::made::DecidedFacts;
use super::members::{MemberFacts, MemberFiles, ServedMember};
use super::records::give_names;
use super::state::Serving;
use super::volume_holds::HeldVolumes;
use super::volumes::{LABEL_OF, VolumeOf, drawn_name, make_volume};
use crate::serve::answer::asked::LABEL_ASKED;
use crate::serve::decide::facts::CreateAsk;
use crate::serve::decide::member::{MemberMount, MemberSpec, MountSource};
use crate::serve::decide::places::refuse_covers;
use crate::serve::decide::{create, wanted};
use crate::serve::denied::Denied;
use crate::serve::request::upstream_line::Line;
use crate::serve::request::version::ApiMinor;
use crate::serve::upstream::{Seam, create_body, mount};
use crate::supervisor::spec::environment;
use crate::supervisor::spec::places::NOTICE;
use crate::supervisor::spec::workflow::{LABEL_COVERS, LABEL_GROUP, LABEL_NAMES, LABEL_SERVE, Role};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::init::InitPlace;
use crate::wire::{EngineId, WorkflowId};
use crate::workspace::identity::Settings;
use crate::workspace::masks;
use crate::workspace::secrets::{Sent as SentText, check};

/// Members at once.
const MOST: usize = 500;

/// Said of a health check that is left out: the engine would run it before the files were looked
/// at.
const NO_HEALTH: &str = "ringfence: Healthcheck: it is left out, since the container has files of this machine; give it volumes instead";

/// A name that is being given, until the member has it.
pub(super) struct Naming {
    serving: Rc<Serving>,
    pub(super) name: String,
}

impl Drop for Naming {
    fn drop(&mut self) {
        self.serving.names.borrow_mut().retain(|name| *name != self.name);
    }
}

impl Serving {
    /// Makes a container. The caller sees to it that this comes to its end.
    ///
    /// # Errors
    /// When it is not to be, or cannot be made.
    pub(crate) async fn create(self: Rc<Self>, ask: CreateAsk, version: ApiMinor) -> Result<Answer, Denied> {
        if self.members.borrow().len() + self.names.borrow().len() >= MOST {
            return Err(Denied::new(503, format!("{MOST} containers are there already; remove some first")));
        }
        let found = self.look_up(&wanted(&ask.taken.body)?).await?;
        let mut spec = create(&ask, &self.ground(), &found)?;
        spec.warnings.extend(secrets(&spec));
        if spec.mounts.iter().any(|mount| matches!(mount.source, MountSource::Path { .. }))
            && spec.health.is_some()
        {
            spec.warnings.push(NO_HEALTH.to_owned());
        }
        let image = self.refuse_links(&spec).await?;
        let covers = random()?;
        let name = spec.name.as_ref().map_or_else(|| format!("fenced-{covers}"), ToString::to_string);
        let naming = self.name(name)?;
        let claim = self.claim(&spec).await?;
        if let Some(why) = claim.fence.shared.check() {
            let what = format!(
                "the fence that this container would be in is lost ({why}); remove the containers there and make them again"
            );
            return Err(Denied::new(503, what));
        }
        let _ports = self.promise_ports(&claim.fence, &spec.asked.ports)?;
        let naming_of = (naming.name.as_str(), covers);
        let made = self.make_in(&claim, &mut spec, naming_of, image, version).await;
        if made.is_err() {
            self.forget_files(covers, true).await;
        }
        let member = made?;
        let id = member.id.clone();
        self.members.borrow_mut().insert(id.clone(), member);
        self.renew_names(&claim.fence)?;
        Ok(json(201, &json!({ "Id": id, "Warnings": spec.warnings })))
    }

    /// Takes a name that no member has.
    pub(super) fn name(self: &Rc<Self>, name: String) -> Result<Naming, Denied> {
        let mut names = self.names.borrow_mut();
        let is_taken = self.members.borrow().values().any(|member| *member.name.borrow() == name);
        if is_taken || names.contains(&name) {
            return Err(Denied::name_taken(&name));
        }
        names.push(name.clone());
        Ok(Naming { serving: Rc::clone(self), name })
    }

    async fn make_in(
        &self,
        claim: &Claim,
        spec: &mut MemberSpec,
        (name, covers): (&str, WorkflowId),
        image: LookedImage,
        version: ApiMinor,
    ) -> Result<Rc<ServedMember>, Denied> {
        let fence = &claim.fence;
        let asked = self.binds(spec).await?;
        let memory: Vec<String> = spec.tmpfs.keys().cloned().collect();
        let looked = match asked.is_empty() {
            true => None,
            false => {
                let looked = look(&self.facts.files, asked.clone(), memory.clone(), covers).await;
                Some(looked.map_err(|failure| Denied::new(400, words(&failure)))?)
            }
        };
        let covers_of = looked.iter().flat_map(|looked| &looked.laying.served);
        refuse_covers(covers_of.map(|served| served.target.as_str()), &spec.mounts, &self.facts.roots)?;
        spec.warnings.extend(looked.iter().flat_map(|looked| looked.warnings.clone()));
        // Nothing that is mounted is removed before the container has it.
        let held = self.hold_volumes(named_volumes(spec)).await?;
        let mut mounts = Vec::new();
        for mount_of in &spec.mounts {
            mounts.push(self.mount(mount_of, covers, &held).await?);
        }
        let laid: Vec<(PathBuf, String)> = looked
            .iter()
            .flat_map(|looked| &looked.laying.served)
            .map(|served| (served.source.clone(), served.target.clone()))
            .collect();
        mounts.extend(laid.iter().map(|(source, target)| read_only(source, target)));
        mounts.extend(fence.name_files().iter().map(|(source, target)| read_only(source, target)));
        mounts.push(notice(fence.shared.workflow.object(Role::Notice)));
        let words = match &looked {
            Some(_) => Some(fence.words(covers).map_err(|failure| broken(&failure))?),
            None => None,
        };
        let mut by_init = None;
        if let Some(words) = &words {
            let program = self.init().map_err(|failure| broken(&failure))?;
            let place =
                InitPlace::random().map_err(|error| Denied::new(500, format!("no random bytes: {error}")))?;
            mounts.extend([read_only(&program, place.program()), read_only(words, &place.words())]);
            by_init = Some(place);
        }
        let fence_id: EngineId = fence
            .shared
            .helpers
            .fence
            .parse()
            .map_err(|_| Denied::new(500, "the engine's id of the fence is none"))?;
        let seam = Seam {
            fence: &fence_id,
            filter: &fence.shared.filter,
            runtime: None,
            labels: self.labels(claim, spec, covers),
            mounts,
            env: self.env(spec, looked.as_ref()),
            by_init,
            health: words.is_none(),
            disk: None,
            readonly_paths: None,
        };
        let fills = filled(&seam.mounts);
        let labels = spec.labels.iter().chain(&seam.labels);
        let has_variants = self.facts.engine.has_variants();
        let decided = DecidedFacts::new(spec, &seam.mounts, labels, image, has_variants);
        // The next `serve` judges by it, where this one is killed before it does.
        fence.put_decided(covers, &decided).map_err(|failure| broken(&failure))?;
        let body = serde_json::to_string(&create_body(spec, seam))
            .map_err(|error| Denied::new(500, format!("the body cannot be written: {error}")))?;
        let query = [("name", Serving::engine_name(fence, name)), ("platform", spec.platform.to_string())];
        let line = Line::new("POST", "/containers/create", &query);
        let filling = Filling { held, fills };
        let id = self.ask_engine(&line, version, body, &filling).await.inspect_err(|refusal| {
            if (400..500).contains(&refusal.status) {
                // No container was made that the next `serve` could find.
                fence.forget_decided(covers);
            }
        })?;
        // A variant that was not decided upon may have filled them: nobody gets these any more.
        let judged = self.judge_made(&id, &decided).await;
        judged.inspect_err(|_| filling.held.keep(&filling.fills))?;
        drop(filling);
        fence.forget_decided(covers);
        let names = names(spec, name, &id);
        self.name_others(spec);
        let facts = MemberFacts {
            id,
            name: name.to_owned(),
            fence: Rc::clone(fence),
            asked: spec.asked.clone(),
            names,
            files: words.map(|words| MemberFiles { asked, laid, words, memory, was_asked: Cell::new(false) }),
            covers,
        };
        Ok(Rc::new(facts.member()))
    }

    /// Has the engine make a container; its id. What it is let fill is on disk until it answers:
    /// it goes on when this `serve` is killed.
    async fn ask_engine(
        &self,
        line: &Line,
        version: ApiMinor,
        body: String,
        filling: &Filling,
    ) -> Result<String, Denied> {
        let Filling { held, fills } = filling;
        self.fills.add(fills).await.map_err(|failure| broken(&failure))?;
        // Where it does not answer, it may be filling them still.
        let answer =
            self.http.send(line, version, Sent::Json(body)).await.inspect_err(|_| held.keep(fills))?;
        if let Err(failure) = self.fills.take_out(fills).await {
            failure.tell();
        }
        Ok(read(answer).await?["Id"].as_str().unwrap_or_default().to_owned())
    }

    /// Lists the files of this machine that a container is to have; missing directories are made.
    async fn binds(&self, spec: &MemberSpec) -> Result<Vec<BindAsk>, Denied> {
        let mut asked = Vec::new();
        for of in &spec.mounts {
            let MountSource::Path { path, make, .. } = &of.source else { continue };
            if *make {
                self.make_directory(path).await?;
            }
            asked.push(BindAsk { source: path.clone(), target: of.target.clone(), writable: of.writable });
        }
        Ok(asked)
    }

    /// Makes a mount, and the volume that it needs. Only a volume that no container ever got is
    /// filled from the image.
    async fn mount(&self, of: &MemberMount, covers: WorkflowId, held: &HeldVolumes) -> Result<Mount, Denied> {
        let MountSource::Volume { name, labels, no_copy } = &of.source else {
            let mut mount = mount(of, None);
            // Other file systems below are not given: nobody has looked through them.
            if let Some(options) = &mut mount.bind_options {
                options.non_recursive = Some(true);
            }
            return Ok(mount);
        };
        let volume = match name {
            Some(name) => make_volume(self, name, labels, VolumeOf::Named, held).await?,
            None => {
                let name = drawn_name()?;
                held.add(&name);
                make_volume(self, &name, labels, VolumeOf::Member(covers), held).await?
            }
        };
        let is_first = held.is_first(&volume);
        let mut mount = mount(of, Some(&volume));
        if let Some(options) = &mut mount.volume_options {
            options.no_copy = Some(*no_copy || !is_first);
        }
        Ok(mount)
    }

    fn labels(&self, claim: &Claim, spec: &MemberSpec, covers: WorkflowId) -> HashMap<String, String> {
        let mut labels = claim.fence.shared.workflow.labels(Role::Member);
        labels.extend(
            [
                (LABEL_SERVE, self.facts.id.clone()),
                (LABEL_GROUP, claim.fence.key.clone()),
                (LABEL_ASKED, spec.asked.label()),
                (LABEL_NAMES, spec.names.join(" ")),
                (LABEL_COVERS, covers.to_string()),
                (LABEL_OF, String::new()),
                // Images can have it.
                (LABEL_LOOK, String::new()),
            ]
            .map(|(label, value)| (label.to_owned(), value)),
        );
        labels
    }

    fn env(&self, spec: &MemberSpec, looked: Option<&LookedFiles>) -> Vec<String> {
        let mut env = spec.env.clone();
        if let Some(looked) = looked {
            let mut settings = Settings::default();
            settings.for_covers(&looked.plans);
            if let Some(root) = looked.binds.iter().find(|bind| self.facts.files.roots.contains(&bind.source))
            {
                settings.for_project(&root.target, (root, ".git/config"));
            }
            settings.lay_on(&mut env);
        }
        environment::variables(&env, None, None, self.facts.engine.dialect.removes_variable)
    }

    /// Gives others the names that a new member has for them.
    fn name_others(&self, spec: &MemberSpec) {
        for (name, id) in &spec.names_of {
            if let Some(member) = self.members.borrow().get(id.as_ref()) {
                // One that has the most names gets no more.
                give_names(&mut member.names.borrow_mut(), std::slice::from_ref(name));
            }
        }
    }

    /// Removes what is kept for a member that is not there, with the volumes of its own.
    pub(crate) async fn forget_files(&self, covers: WorkflowId, volumes: bool) {
        close_covers(covers).await.unwrap_or_else(|failure| failure.tell());
        if volumes {
            super::volumes::remove_of(self, covers).await;
        }
    }
}

/// Removes covers. They lie on a disk that may be slow.
pub(super) async fn close_covers(of: WorkflowId) -> Result<(), Failure> {
    let closing = tokio::task::spawn_blocking(move || masks::close(of));
    closing.await.unwrap_or_else(|_| Err(Failure::new(COULD_NOT_RUN, "the removal of covers was ended")))
}

/// Volumes of a creation.
struct Filling {
    /// All of them, which nobody else gets meanwhile.
    held: HeldVolumes,
    /// Those that the engine may fill from the image.
    fills: BTreeSet<String>,
}

/// Lists the volumes that the engine may fill from the image.
fn filled(mounts: &[Mount]) -> BTreeSet<String> {
    let may_be = |mount: &&Mount| {
        let options = mount.volume_options.as_ref();
        mount.typ == Some(MountType::VOLUME) && options.and_then(|options| options.no_copy) != Some(true)
    };
    mounts.iter().filter(may_be).filter_map(|mount| mount.source.clone()).collect()
}

/// Lists the volumes that a client named.
fn named_volumes(spec: &MemberSpec) -> BTreeSet<String> {
    let named = |mount: &MemberMount| match &mount.source {
        MountSource::Volume { name, .. } => name.clone(),
        _ => None,
    };
    spec.mounts.iter().filter_map(named).collect()
}

/// Returns the names of a member: those that were asked for, its own, and the beginning of its id.
pub(crate) fn names(spec: &MemberSpec, name: &str, id: &str) -> Vec<String> {
    names_with(spec.names.clone(), name, id)
}

/// Adds the names that every member has.
pub(crate) fn names_with(mut names: Vec<String>, name: &str, id: &str) -> Vec<String> {
    let own = [Some(name.to_owned()), id.get(..12).map(str::to_owned)];
    names.extend(own.into_iter().flatten().filter_map(|name| crate::serve::decide::usable(&name)));
    names.sort();
    names.dedup();
    names
}

/// Warns of secrets that are sent in the clear.
fn secrets(spec: &MemberSpec) -> Option<String> {
    let variables = spec.env.iter().filter_map(|pair| pair.split_once('='));
    let sent: Vec<SentText<'_>> = variables
        .map(|(name, value)| SentText {
            place: format!("env:{name}"),
            variable: Some(name),
            text: value.as_bytes(),
        })
        .collect();
    let failure = check(&sent, &[]).err()?;
    Some(format!("ringfence: {}", failure.message))
}

fn read_only(source: &Path, target: &str) -> Mount {
    Mount {
        target: Some(target.to_owned()),
        source: Some(source.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(true),
        ..Default::default()
    }
}

fn notice(volume: String) -> Mount {
    Mount {
        target: Some(NOTICE.to_owned()),
        source: Some(volume),
        typ: Some(MountType::VOLUME),
        read_only: Some(true),
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
        ..Default::default()
    }
}

/// Reads a text of an inspected object.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}
