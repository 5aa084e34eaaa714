//! Every file under `examples/`, as its reader would use it: definitions applied, launches created.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::cluster::JVMS;
use crate::support::{Run, Space, beside};

/// Folders of examples with their files, definitions and accounts before launches.
fn folders() -> BTreeMap<String, Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut all = BTreeMap::new();
    for folder in std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        let files = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
        let mut files: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == "yaml")).collect();
        // Its images can only be pulled; `make demo` applies it with others, and `monitoring.rs` tests it.
        files.retain(|f| f.file_name().is_some_and(|n| n != "monitoring.yaml"));
        // Parents before children, so that names of launches are taken by no one else.
        files.sort_by_key(|f| {
            (is_launch(f), f.file_name().is_some_and(|n| n == "launch-child.yaml"), f.clone())
        });
        all.insert(folder.file_name().unwrap().to_str().unwrap().to_owned(), files);
    }
    all
}

fn is_launch(file: &Path) -> bool {
    file.file_name()
        .and_then(|n| n.to_str())
        .is_some_and(|n| n.starts_with("launch") && !n.starts_with("launcher"))
}

/// What the first line says: `# Ends: Failed DeadlineExceeded`.
fn promised(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("# Ends: ").unwrap_or("Succeeded").trim().to_owned()
}

#[tokio::test]
async fn examples_end_as_they_say() {
    beside("examples", async |t: &Space| {
        let _permits = JVMS.acquire_many(2).await.unwrap();
        let mut launched: Vec<(PathBuf, Run)> = Vec::new();
        for file in folders().into_values().flatten() {
            let path = file.to_str().unwrap();
            if !is_launch(&file) {
                t.kubectl(&["apply", "-f", path]).await.good();
                continue;
            }
            let name_and_uid = "jsonpath={.metadata.name} {.metadata.uid}{'\\n'}";
            let created = t.kubectl(&["create", "-o", name_and_uid, "-f", path]).await.good();
            for line in created.lines() {
                let (name, uid) = line.split_once(' ').unwrap();
                launched.push((file.clone(), Run { name: name.to_owned(), uid: uid.to_owned() }));
            }
        }
        assert!(launched.len() >= 7, "{launched:?}");
        for (file, run) in &launched {
            let end = t.ended(run).await;
            let status = &end.status;
            let told = [Some(status.phase.unwrap().as_str()), status.reason.as_deref()];
            let told: Vec<&str> = told.into_iter().flatten().collect();
            assert_eq!(told.join(" "), promised(file), "{}: {status:#?}", file.display());
        }
    })
    .await;
}

#[tokio::test]
async fn who_may_only_launch_can_launch_and_nothing_else() {
    beside("launch-only", async |t: &Space| {
        let all = folders();
        for file in ["launch-only", "hello"].iter().flat_map(|f| &all[*f]).filter(|f| !is_launch(f)) {
            t.kubectl(&["apply", "-f", file.to_str().unwrap()]).await.good();
        }
        let account = format!("--as=system:serviceaccount:{}:launcher", t.name);
        let launch = all["hello"].iter().find(|f| is_launch(f)).unwrap();
        let create = ["create", &account, "-o", "name", "-f", launch.to_str().unwrap()];
        let name = t.kubectl(&create).await.good();
        t.kubectl(&["wait", &account, name.trim(), "--for=condition=Succeeded", "--timeout=120s"])
            .await
            .good();
        let stop = ["patch", &account, name.trim(), "--type=merge", "-p", r#"{"spec":{"shutdown":"Stop"}}"#];
        t.kubectl(&stop).await.good();

        let hello = all["hello"].iter().find(|f| !is_launch(f)).unwrap();
        for refused in [
            vec!["apply", "--server-side", "--force-conflicts", "-f", hello.to_str().unwrap()],
            vec!["get", "secrets"],
            vec!["create", "job", "own", "--image=localhost/millrace-task-plain:1"],
            vec![
                "patch",
                name.trim(),
                "--subresource=status",
                "--type=merge",
                "-p",
                r#"{"status":{"exitCode":0}}"#,
            ],
        ] {
            let args: Vec<&str> = refused.iter().copied().chain([account.as_str()]).collect();
            let said = t.kubectl(&args).await.bad();
            assert!(said.contains("forbidden"), "{args:?}: {said}");
        }
        t.kubectl(&["delete", &account, name.trim(), "--timeout=10s"]).await.good();
    })
    .await;
}

/// What is for those without Helm is accepted by the API server as it stands.
#[tokio::test]
async fn plain_manifests_can_be_applied() {
    beside("deploy", async |t: &Space| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for what in ["crds", "deploy"] {
            let path = root.join(what);
            // Client-side, with its copy in an annotation: the CRDs must fit.
            let apply = ["apply", "--dry-run=server", "-f", path.to_str().unwrap()];
            let said = crate::support::command::kubectl(&apply).await.good();
            assert!(said.contains("tasklaunches.millrace.dev"), "{said}");
        }
        t.define("nothing", crate::support::manifest::plain(&[])).await;
    })
    .await;
}
