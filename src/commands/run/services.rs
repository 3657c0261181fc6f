//! Services beside the agent: those of the policy, and those of the command line.

use std::collections::BTreeMap;
use std::time::Duration;

use netpolicy::policy::Policy;
use netpolicy::service::{MOST, Service, ServiceName, WITHIN};

use super::inputs::of_caller;
use crate::cli::run::RunArgs;
use crate::supervisor::spec::service::ServiceRequest;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::workspace::secrets::{Sent, check};

/// Reads what is asked for as services, and refuses secrets in the clear.
///
/// # Errors
/// When a name is none, is given twice or is a permitted host's, or when something looks like a
/// secret.
pub(crate) fn gather(args: &RunArgs, policy: &Policy) -> Result<Vec<ServiceRequest>, Failure> {
    let mut services = policy.services.clone();
    for given in &args.service {
        let (name, image) = named(given)?;
        if let Some(rule) = policy.host_of_service(&name) {
            let what =
                format!("--service {name}: the policy permits a host of this name ({})", rule.origin.place());
            return Err(Failure::new(COULD_NOT_RUN, what).hint("give the service another name"));
        }
        if services.insert(name.clone(), Service::of_image(image)).is_some() {
            let what = format!("--service {name}: a service of this name is there already");
            return Err(Failure::new(COULD_NOT_RUN, what)
                .hint("give each service a name of its own, those of the policy among them"));
        }
    }
    if services.len() > MOST {
        let what = format!("{} services, and one run has at most {MOST}", services.len());
        return Err(Failure::new(COULD_NOT_RUN, what).hint("leave some of them out"));
    }
    let variables = variables(args, &services)?;
    check(&in_the_clear(args, &policy.services), &args.allow_secret)?;
    Ok(services.into_iter().map(|(name, service)| request(name, service, &variables)).collect())
}

/// Makes the request of one service. Of a variable that is given twice the command line's counts.
fn request(name: ServiceName, service: Service, given: &[(ServiceName, String, String)]) -> ServiceRequest {
    let mut env = service.env;
    let own = given.iter().filter(|(of, ..)| *of == name);
    env.extend(own.map(|(_, variable, value)| (variable.clone(), value.clone())));
    ServiceRequest {
        name,
        image: service.image,
        env: env.into_iter().map(|(variable, value)| format!("{variable}={value}")).collect(),
        command: service.command,
        ready: service.ready,
        within: Duration::from_secs(service.within.unwrap_or(WITHIN)),
    }
}

/// Reads `NAME=IMAGE`.
fn named(given: &str) -> Result<(ServiceName, &str), Failure> {
    let bad = |why: &str| {
        let what = format!("--service {given:?} is no service: {why}");
        Failure::new(COULD_NOT_RUN, what).hint("write NAME=IMAGE, such as db=postgres:16")
    };
    let (name, image) = given.split_once('=').ok_or_else(|| bad("it has no `=`"))?;
    let name = name.parse().map_err(|error: netpolicy::service::BadServiceName| bad(&error.to_string()))?;
    if image.is_empty() {
        return Err(bad("it names no image"));
    }
    Ok((name, image))
}

/// Splits `NAME:VARIABLE[=VALUE]`.
fn split(given: &str) -> Option<(&str, &str, Option<&str>)> {
    let (name, pair) = given.split_once(':')?;
    let (variable, value) = match pair.split_once('=') {
        Some((variable, value)) => (variable, Some(value)),
        None => (pair, None),
    };
    (!variable.is_empty()).then_some((name, variable, value))
}

/// Reads the variables of the command line: service, name, value.
fn variables(
    args: &RunArgs,
    services: &BTreeMap<ServiceName, Service>,
) -> Result<Vec<(ServiceName, String, String)>, Failure> {
    let mut found = Vec::new();
    for given in &args.service_env {
        // A value may be a secret, and is not repeated.
        let shown = given.split('=').next().unwrap_or_default();
        let bad = |why: &str| Failure::new(COULD_NOT_RUN, format!("--service-env {shown}: {why}"));
        let Some((name, variable, value)) = split(given) else {
            return Err(bad("it names no variable").hint("write NAME:VARIABLE or NAME:VARIABLE=VALUE"));
        };
        let name = name.parse().ok().filter(|name: &ServiceName| services.contains_key(name));
        let Some(name) = name else {
            return Err(
                bad("there is no service of this name").hint("name one that --service or the policy has")
            );
        };
        let value = match value {
            Some(value) => value.to_owned(),
            None => {
                let option = format!("--service-env {shown}");
                let Some(value) = of_caller(&option, variable, "give a value that is text")? else {
                    continue;
                };
                value
            }
        };
        found.push((name, variable.to_owned(), value));
    }
    Ok(found)
}

/// Lists what the services are sent in the clear, each with its place.
fn in_the_clear<'a>(args: &'a RunArgs, of_policy: &'a BTreeMap<ServiceName, Service>) -> Vec<Sent<'a>> {
    let mut sent = Vec::new();
    for (name, variable, value) in args.service_env.iter().filter_map(|given| split(given)) {
        if let Some(value) = value {
            let place = format!("service-env:{name}:{variable}");
            sent.push(Sent { place, variable: Some(variable), text: value.as_bytes() });
        }
    }
    for (name, service) in of_policy {
        for (variable, value) in &service.env {
            let place = format!("services.{name}.env.{variable}");
            sent.push(Sent { place, variable: Some(variable), text: value.as_bytes() });
        }
        for (number, word) in service.command.iter().enumerate() {
            let place = format!("services.{name}.command:{number}");
            sent.push(Sent { place, variable: None, text: word.as_bytes() });
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use netpolicy::load::rule_from_flag;

    use super::*;
    use crate::cli::{Cli, Command};

    fn gathered(options: &[&str], policy: &Policy) -> Result<Vec<ServiceRequest>, Failure> {
        let words = [&["ringfence", "run"], options, &["agent"]].concat();
        let Command::Run(args) = Cli::parse_from(words).command else { panic!("it is `run`") };
        gather(&args, policy)
    }

    fn fails(options: &[&str], policy: &Policy, words: &str) {
        let failure = gathered(options, policy).unwrap_err();
        assert!(failure.to_string().contains(words), "{options:?}: {failure}");
    }

    #[test]
    fn services_of_the_policy_and_of_the_command_line_stand_together() {
        let mut db = Service::of_image("postgres:16");
        db.env = [("A", "1"), ("B", "2")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let policy = Policy { services: [("db".parse().unwrap(), db)].into(), ..Policy::default() };
        let options = ["--service", "cache=redis", "--service-env", "db:B=3=4", "--service-env", "cache:C="];
        let made = gathered(&options, &policy).unwrap();
        let of = |name: &str| made.iter().find(|one| one.name.as_ref() == name).unwrap();
        assert_eq!((made.len(), of("db").image.as_str()), (2, "postgres:16"));
        assert_eq!(
            (of("db").env.concat(), of("cache").env.concat()),
            ("A=1B=3=4".to_owned(), "C=".to_owned())
        );
        assert_eq!(of("db").within, Duration::from_secs(WITHIN));
        fails(&["--service", "db=other"], &policy, "there already");
    }

    #[test]
    fn what_is_no_service_ends_the_start() {
        let nothing = Policy::nothing();
        for (given, words) in [
            ("redis", "no `=`"),
            ("=redis", "at most 40"),
            ("../x=redis", "at most 40"),
            ("localhost=redis", "the fence itself"),
            ("db=", "no image"),
        ] {
            fails(&["--service", given], &nothing, words);
        }
        fails(&["--service", "a=x", "--service", "a=y"], &nothing, "there already");
        let many: Vec<String> = (0..9).map(|number| format!("s{number}=x")).collect();
        let many: Vec<&str> = many.iter().flat_map(|given| ["--service", given]).collect();
        fails(&many, &nothing, "at most 8");
        fails(&["--service-env", "db:A=1"], &nothing, "no service of this name");
        fails(&["--service", "db=x", "--service-env", "db:=1"], &nothing, "names no variable");
        let rule = rule_from_flag("--allow", "db:5432").unwrap();
        let policy = Policy { allow: vec![rule.into()], ..Policy::default() };
        fails(&["--service", "db=x"], &policy, "permits a host of this name");
        assert!(gathered(&["--service", "other=x"], &policy).is_ok());
    }

    #[test]
    fn a_literal_secret_ends_the_start_and_is_not_shown() {
        let options = ["--service", "db=x", "--service-env", "db:DB_PASSWORD=Tr0ub4dor"];
        let failure = gathered(&options, &Policy::nothing()).unwrap_err();
        assert_eq!(failure.causes, ["service-env:db:DB_PASSWORD: secret-variable"]);
        assert!(
            !failure.to_string().contains("Tr0ub")
                && failure.hint.unwrap().contains("--service-env NAME:VARIABLE")
        );
        let allowed = ["--allow-secret", "secret-variable@service-env:db:DB_PASSWORD"];
        assert!(gathered(&[&options[..], &allowed].concat(), &Policy::nothing()).is_ok());
        let mut db = Service::of_image("x");
        db.env = [("DB_PASSWORD".to_owned(), "Tr0ub4dor".to_owned())].into();
        let policy = Policy { services: [("db".parse().unwrap(), db)].into(), ..Policy::default() };
        fails(&[], &policy, "services.db.env.DB_PASSWORD");
    }
}
