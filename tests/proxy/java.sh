# The peers that run on a JVM.
# shellcheck shell=bash
# Needs lib.sh.

JAVA_PROXY=$here/java-proxy
TASKS=(boot27 boot32 boot35 boot40 boot35-bean boot40-bean)

# The JDK 17 of this machine.
java_home() {
  need javac openjdk-17-jdk-headless mvn maven
  dirname "$(dirname "$(readlink -f "$(command -v javac)")")"
}

java_proxy() { cached_by_key java-proxy build_java_proxy; }

java-proxy_key() {
  (cd "$JAVA_PROXY" && find . -type f -not -path './target/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | key
}

build_java_proxy() {
  say "building the Java proxy (expected: 10 s, at the very first time 1 min of downloads)"
  java_home >/dev/null
  cp -r "$JAVA_PROXY" "$1/source" && rm -rf "$1/source/target"
  nice -n 5 mvn -B -ntp -q -Dstyle.color=never -f "$1/source" package ||
    die "Maven failed; if it could not download something, start again: it goes on where it was"
  mv "$1/source/target/java-proxy.jar" "$1" && rm -r "$1/source"
}

# The applications of tests/apps and their Java: lines NAME=path.
java_tasks() {
  local folders folder name at=0
  echo "MILLRACE_TASK_JAVA=$("$here/../apps/jre")/jre/bin/java"
  folders=$("$here/../apps/build" --folders "${TASKS[@]}")
  while read -r folder; do
    name=${TASKS[at++]//-/_}
    echo "MILLRACE_TASK_${name^^}=$folder"
  done <<<"$folders"
}

# Begins to get what is not in the cache; `finish` follows. One Maven after the other: they share their downloads.
begin_java() {
  java_home >/dev/null
  begin "Build the test tasks and the Java proxy" "5 min once, then 1 s" java_peers
}

java_peers() {
  java_tasks
  java_proxy
}

print_java() {
  printf '%s\n' "MILLRACE_JAVA_PROXY=$(java_proxy)/java-proxy.jar" "MILLRACE_JAVA=$(java_home)/bin/java"
  java_tasks
}
