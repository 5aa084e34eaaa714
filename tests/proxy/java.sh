# The peers that run on a JVM.
# shellcheck shell=bash
# Needs lib.sh.

JAVA_PROXY=$here/java-proxy
RSOCKET_JAVA=$here/rsocket/java
TASKS=(boot27 boot32 boot35 boot40 boot35-bean boot40-bean)

# The JDK 17 of this machine.
java_home() {
  need javac openjdk-17-jdk-headless mvn maven
  dirname "$(dirname "$(readlink -f "$(command -v javac)")")"
}

# Each of these folders is a Maven project with one jar of its own name.
java_proxy() { cached_by_key java-proxy build_jar "$JAVA_PROXY" java-proxy; }
java-proxy_key() { sources_of "$JAVA_PROXY" | key; }

rsocket_java() { cached_by_key rsocket-java build_jar "$RSOCKET_JAVA" rsocket-java; }
rsocket-java_key() { sources_of "$RSOCKET_JAVA" | key; }

sources_of() { (cd "$1" && find . -type f -not -path './target/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum); }

build_jar() {
  local project=$1 name=$2
  say "building $name (expected: 10 s, at the very first time 1 min of downloads)"
  java_home >/dev/null
  cp -r "$project" "$3/source" && rm -rf "$3/source/target"
  nice -n 5 mvn -B -ntp -q -Dstyle.color=never -f "$3/source" package ||
    die "Maven failed; if it could not download something, start again: it goes on where it was"
  mv "$3/source/target/$name.jar" "$3" && rm -r "$3/source"
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
  begin "Build the test tasks, the Java proxy and RSocket for Java" "5 min once, then 1 s" java_peers
}

java_peers() {
  java_tasks
  java_proxy
  rsocket_java
}

print_java() {
  printf '%s\n' "MILLRACE_JAVA_PROXY=$(java_proxy)/java-proxy.jar" "MILLRACE_JAVA=$(java_home)/bin/java" \
    "MILLRACE_RSOCKET_JAVA=$(rsocket_java)/rsocket-java.jar"
  java_tasks
}
