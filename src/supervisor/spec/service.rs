//! Services beside the agent: as a person asks for them, and as they will be made.
//!
//! ```text
//!  --service, services: of a policy ──▶ ServiceRequest ──┐
//!  image, engine, the agent's own spec ──────────────────┴─ ServiceSpec::new ──▶ a container like the agent's, without its files
//! ```

use std::time::Duration;

use netpolicy::service::{Readiness, ServiceName};

use super::agent::AgentSpec;
use super::binds::Binds;
use super::image::Image;
use super::places::NOTICE;
use super::surface::Surface;
use super::{environment, etc, image_volumes};
use crate::supervisor::engine::dialect::Dialect;
use crate::term::{COULD_NOT_RUN, Failure};

/// A service as a person asks for it.
#[derive(Debug, Clone)]
pub(crate) struct ServiceRequest {
    /// Its name.
    pub(crate) name: ServiceName,
    /// The image's name.
    pub(crate) image: String,
    /// `NAME=VALUE`.
    pub(crate) env: Vec<String>,
    /// Command; empty: the image's.
    pub(crate) command: Vec<String>,
    /// Sign of readiness, where one was named.
    pub(crate) ready: Option<Readiness>,
    /// The time in which it must be ready.
    pub(crate) within: Duration,
}

/// A service as it will be made.
#[derive(Debug, Clone)]
pub(crate) struct ServiceSpec {
    /// Its name.
    pub(crate) name: ServiceName,
    /// Its container.
    pub(crate) container: AgentSpec,
    /// Sign of readiness; none: that it runs.
    pub(crate) ready: Option<Readiness>,
    /// The time in which it must be ready.
    pub(crate) within: Duration,
}

impl ServiceSpec {
    /// Decides what will be made. It is held as the agent is: by the same limits, runtime, filter
    /// and files that name hosts. It has none of the agent's files, secrets, authorities and home.
    ///
    /// # Errors
    /// When the image declares a volume where none can be.
    pub(crate) fn new(
        asked: &ServiceRequest,
        image: &Image,
        agent: &AgentSpec,
        dialect: &Dialect,
        first_volume: usize,
    ) -> Result<ServiceSpec, Failure> {
        let own = |place: &str| etc::is_own_file(place, dialect.container_mark);
        let container = AgentSpec {
            image: image.clone(),
            command: asked.command.clone(),
            entrypoint: None,
            env: environment::variables(&asked.env, None, None, dialect.removes_variable),
            binds: Binds::default(),
            served: agent.served.iter().filter(|served| own(&served.target)).cloned().collect(),
            by_init: None,
            workdir: None,
            data: image_volumes::places(&image.volumes, &[NOTICE])?,
            first_volume,
            home: None,
            empty_memory: agent.empty_memory,
            names_read_only: agent.names_read_only,
            handed: false,
            trust: false,
            user: None,
            runtime: agent.runtime.clone(),
            interactive: false,
            tty: false,
            detached: false,
            keep: false,
            limits: agent.limits,
            quota: false,
            surface: Surface {
                capabilities: agent.surface.capabilities,
                shm: agent.surface.shm,
                ..Surface::default()
            },
        };
        let ready = asked.ready.clone().or_else(|| image.ports.first().copied().map(Readiness::Tcp));
        Ok(ServiceSpec { name: asked.name.clone(), container, ready, within: asked.within })
    }

    /// Returns the ports that it is known to have.
    pub(crate) fn ports(&self) -> Vec<u16> {
        match self.ready {
            Some(Readiness::Tcp(port)) => vec![port],
            _ => self.container.image.ports.clone(),
        }
    }
}

/// Decides on all services of a run.
///
/// # Errors
/// When one cannot be made, or when two would listen on the same port of the one loopback.
pub(crate) fn all(
    asked: &[ServiceRequest],
    images: &[Image],
    agent: &AgentSpec,
    dialect: &Dialect,
) -> Result<Vec<ServiceSpec>, Failure> {
    let mut made: Vec<ServiceSpec> = Vec::new();
    let mut first_volume = agent.data.len();
    for (asked, image) in asked.iter().zip(images) {
        let one = ServiceSpec::new(asked, image, agent, dialect, first_volume)?;
        first_volume += one.container.data.len();
        check_port(&made, &one)?;
        made.push(one);
    }
    Ok(made)
}

/// Refuses a service that waits for a port which another service or the fence has.
fn check_port(others: &[ServiceSpec], one: &ServiceSpec) -> Result<(), Failure> {
    let Some(Readiness::Tcp(port)) = one.ready else { return Ok(()) };
    let hint = "give it another port by its own settings, and write that into a policy: `ready: {tcp: PORT}`";
    if netpolicy::ruleset::RESERVED_PORTS.contains(&port) {
        let what = format!("the service `{}` cannot have port {port}: the fence has it", one.name);
        return Err(Failure::new(COULD_NOT_RUN, what).hint(hint));
    }
    match others.iter().find(|other| other.ready == one.ready) {
        Some(other) => {
            let what = format!(
                "the services `{}` and `{}` both have port {port}, and all services share one localhost",
                other.name, one.name
            );
            Err(Failure::new(COULD_NOT_RUN, what).hint(hint))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::supervisor::engine::dialect::example;
    use crate::supervisor::spec::agent::{EngineFacts, SpecFacts};
    use crate::supervisor::spec::limits::Limits;
    use crate::supervisor::spec::request::AgentRequest;
    use crate::wire::init::InitPlace;
    use crate::workspace::masks::{Laying, Served};

    fn asked(name: &str) -> ServiceRequest {
        ServiceRequest {
            name: name.parse().unwrap(),
            image: "i".to_owned(),
            env: vec!["A=b".to_owned()],
            command: Vec::new(),
            ready: None,
            within: Duration::from_secs(60),
        }
    }

    fn agent() -> AgentSpec {
        let dialect = example("Docker 26.1");
        let served = ["/workspace/.env", "/etc/hosts"].map(|target| Served {
            source: PathBuf::from("/state/x"),
            target: target.to_owned(),
            original: None,
        });
        let covers = Laying {
            served: served.to_vec(),
            by_init: Some(InitPlace::random().unwrap()),
            ..Laying::default()
        };
        let request = AgentRequest {
            env: vec!["SECRET=x".to_owned()],
            user: Some("7".to_owned()),
            interactive: true,
            ca: Some(netpolicy::settings::Ca::System),
            ..AgentRequest::default()
        };
        let engine = EngineFacts { quotas: true, own_files: true, elsewhere: false };
        let image = Image { volumes: vec!["/data".to_owned()], ..Image::default() };
        let limits = Limits::default();
        let facts =
            SpecFacts { image: &image, dialect: &dialect, engine, limits, covers: &covers, home: None };
        AgentSpec::new(&request, facts).unwrap()
    }

    #[test]
    fn a_service_has_nothing_that_was_given_to_the_agent() {
        let image = Image { volumes: vec!["/var/lib/db".to_owned()], ports: vec![5432], ..Image::default() };
        let dialect = example("Docker 26.1");
        let made = &all(&[asked("db")], &[image], &agent(), &dialect).unwrap()[0];
        let container = &made.container;
        assert!(container.served.iter().all(|served| served.target == "/etc/hosts"));
        assert_eq!((container.served.len(), container.binds.all.len()), (1, 0));
        assert!(
            container.by_init.is_none() && !container.trust && !container.interactive && !container.handed
        );
        assert!(container.env.iter().any(|pair| pair == "A=b"));
        assert!(container.env.iter().all(|pair| !pair.starts_with("SECRET")));
        assert_eq!(
            (container.user.as_deref(), container.first_volume),
            (None, 1),
            "behind the agent's volume"
        );
        assert_eq!(container.limits, agent().limits);
        assert_eq!((made.ready.clone(), made.ports()), (Some(Readiness::Tcp(5432)), vec![5432]));
    }

    #[test]
    fn no_two_services_and_no_service_and_the_fence_have_one_port() {
        let dialect = example("Docker 26.1");
        let image = |port| Image { ports: vec![port], ..Image::default() };
        let two = [asked("a"), asked("b")];
        let made = |ports: [u16; 2]| all(&two, &ports.map(image), &agent(), &dialect);
        assert!(made([1000, 1001]).is_ok());
        let failure = made([1000, 1000]).unwrap_err();
        assert!(failure.message.contains("`a` and `b` both have port 1000"), "{failure}");
        assert!(made([netpolicy::ruleset::GATE_PORT, 1]).unwrap_err().message.contains("the fence has it"));
        assert!(made([1, netpolicy::ruleset::DNS_PORT]).is_err());
    }
}
