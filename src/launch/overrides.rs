//! What a launch may add to its definition: "may launch" is not "may run anything".

use super::resolve::Rejection;
use crate::api::TaskLaunchSpec;
use crate::api::task_definition::{ArgsOverride, Overrides};
use crate::inject::spring::identity_key;

/// Checks a launch's arguments and properties against what its definition allows.
pub fn check(allowed: &Overrides, launch: &TaskLaunchSpec) -> Result<(), Rejection> {
    for arg in &launch.args {
        check_argument(allowed, arg)?;
    }
    for name in launch.properties.keys() {
        check_property(allowed, name, &format!("property {name}"))?;
    }
    Ok(())
}

fn check_argument(allowed: &Overrides, arg: &str) -> Result<(), Rejection> {
    if let Some((name, _)) = setting(arg) {
        return check_property(allowed, name, &format!("argument {}", shown(arg)));
    }
    match allowed.args {
        ArgsOverride::Any => Ok(()),
        ArgsOverride::Plain if !arg.starts_with('-') => Ok(()),
        ArgsOverride::Plain => Err(Rejection::denied(format!(
            "argument {} begins with a dash, which the definition does not allow: set its spec.overrides.args to Any",
            shown(arg)
        ))),
        ArgsOverride::Deny => Err(Rejection::denied(format!(
            "argument {} is not allowed: set spec.overrides.args of the definition to Plain or Any",
            shown(arg)
        ))),
    }
}

fn check_property(allowed: &Overrides, name: &str, what: &str) -> Result<(), Rejection> {
    if identity_key(name) {
        return Err(Rejection::identity(what));
    }
    let relaxed_name = relaxed(name);
    if allowed.properties.iter().any(|other| relaxed(other) == relaxed_name) {
        return Ok(());
    }
    Err(Rejection::denied(format!(
        "{what} is not allowed: add {name:?} to spec.overrides.properties of the definition"
    )))
}

/// Name and value of an argument that sets a property: `--name=value`, `--name`, or `-Dname=value` for images
/// whose arguments reach the JVM.
pub fn setting(arg: &str) -> Option<(&str, &str)> {
    let option = arg.strip_prefix("--").or_else(|| arg.strip_prefix("-D"))?;
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    (!name.is_empty()).then_some((name, value))
}

/// A property's name as Spring compares it: case, dashes and underscores do not count, dots do.
pub fn relaxed(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// An argument short enough for a sentence; its value may be secret, so only its beginning is shown.
fn shown(arg: &str) -> String {
    let name = arg.split('=').next().unwrap_or_default();
    let short: String = name.chars().take(64).collect();
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::reason;

    fn outcome(allowed: &Overrides, args: &[&str], properties: &[&str]) -> Result<(), &'static str> {
        let launch = TaskLaunchSpec {
            args: args.iter().map(ToString::to_string).collect(),
            properties: properties.iter().map(|p| (p.to_string(), "x".to_owned())).collect(),
            ..TaskLaunchSpec::default()
        };
        check(allowed, &launch).map_err(|rejection| rejection.reason)
    }

    fn allow(args: ArgsOverride, properties: &[&str]) -> Overrides {
        Overrides { args, properties: properties.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn arguments() {
        use ArgsOverride::{Any, Deny, Plain};
        const DENIED: Result<(), &str> = Err(reason::OVERRIDE_DENIED);
        for (args, arg, expected) in [
            (Deny, "x", DENIED),
            (Plain, "x", Ok(())),
            (Plain, "date=2026-01-01", Ok(())),
            (Plain, "-x", DENIED),
            (Plain, "-", DENIED),
            (Plain, "--", DENIED),
            (Plain, "—x", Ok(())),
            (Any, "-x", Ok(())),
            (Any, "--", Ok(())),
            (Any, "--some.key=1", DENIED),
            (Any, "--some.key", DENIED),
            (Any, "-Dsome.key=1", DENIED),
            (Any, "--allowed.key=1", Ok(())),
            (Any, "--ALLOWED.key=1", Ok(())),
            (Plain, "--allowed.key=1", Ok(())),
            (Deny, "--allowed.key=1", Ok(())),
        ] {
            assert_eq!(outcome(&allow(args, &["allowed.key"]), &[arg], &[]), expected, "{args:?} {arg}");
        }
    }

    #[test]
    fn a_property_is_allowed_in_any_of_springs_spellings_and_no_other_is() {
        let allowed = allow(ArgsOverride::Plain, &["app.chunk-size"]);
        for name in ["app.chunk-size", "app.chunkSize", "APP.CHUNK_SIZE", "app.chunk_size"] {
            assert_eq!(outcome(&allowed, &[], &[name]), Ok(()), "{name}");
        }
        for name in [
            "app.chunk.size",
            "appchunksize",
            "spring.application.json",
            "SPRING_APPLICATION_JSON",
            "spring.config.location",
            "spring.config.import",
            "spring.profiles.active",
            "spring.profiles.include[0]",
            "app.chunk-size[0]",
            "",
        ] {
            assert_eq!(outcome(&allowed, &[], &[name]), Err(reason::OVERRIDE_DENIED), "{name}");
        }
    }

    #[test]
    fn identity_cannot_be_forged_even_if_it_was_allowed() {
        let name = "management.metrics.tags.task.name";
        let allowed = allow(ArgsOverride::Any, &[name]);
        for spelling in [name, "MANAGEMENT_METRICS_TAGS_TASK_NAME", "management.metrics.tags[task.name]"] {
            assert_eq!(outcome(&allowed, &[], &[spelling]), Err(reason::IDENTITY_RESERVED), "{spelling}");
            let arg = format!("--{spelling}=x");
            assert_eq!(outcome(&allowed, &[&arg], &[]), Err(reason::IDENTITY_RESERVED), "{arg}");
        }
    }

    #[test]
    fn a_refusal_names_the_field_to_change_and_no_value() {
        let launch =
            TaskLaunchSpec { args: vec!["--db.password=s3cret".into()], ..TaskLaunchSpec::default() };
        let rejection = check(&Overrides::default(), &launch).unwrap_err();
        assert!(rejection.message.contains("spec.overrides.properties"), "{}", rejection.message);
        assert!(rejection.message.contains("db.password") && !rejection.message.contains("s3cret"));
    }
}
