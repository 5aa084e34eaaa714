#!/bin/sh
# Does what the entry point of the official image influxdb:1.8 does: options alone are
# for influxd, and with an empty store INFLUXDB_DB makes a database,
# INFLUXDB_ADMIN_USER and INFLUXDB_ADMIN_PASSWORD an administrator (with
# INFLUXDB_HTTP_AUTH_ENABLED=true), INFLUXDB_USER and INFLUXDB_USER_PASSWORD a user of
# that database. There is no random password and no /docker-entrypoint-initdb.d.
set -eu

admin=
if [ "${INFLUXDB_HTTP_AUTH_ENABLED-}" = true ]; then admin=${INFLUXDB_ADMIN_USER-}; fi

# In names and passwords, what would end the quotes is escaped.
name() { printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"; }
password() { printf "'%s'" "$(printf %s "$1" | sed "s/[\\\\']/\\\\&/g")"; }

execute() { influx -host 127.0.0.1 -execute "$1"; }

# Nobody else reaches it meanwhile.
init() {
  INFLUXDB_HTTP_BIND_ADDRESS=127.0.0.1:8086 INFLUXDB_HTTP_HTTPS_ENABLED=false influxd "$@" &
  influxd=$!
  tries=0
  until wget -qO /dev/null http://127.0.0.1:8086/ping 2>/dev/null; do
    kill -0 $influxd && [ $tries -lt 300 ] || { echo "influxd does not answer; nothing was set up" >&2; exit 1; }
    tries=$((tries + 1))
    sleep 0.1
  done
  if [ -n "$admin" ]; then
    execute "CREATE USER $(name "$admin") WITH PASSWORD $(password "$INFLUXDB_ADMIN_PASSWORD") WITH ALL PRIVILEGES"
    export INFLUX_USERNAME="$admin" INFLUX_PASSWORD="$INFLUXDB_ADMIN_PASSWORD"
  fi
  if [ -n "${INFLUXDB_DB-}" ]; then execute "CREATE DATABASE $(name "$INFLUXDB_DB")"; fi
  if [ -n "${INFLUXDB_USER-}" ]; then
    execute "CREATE USER $(name "$INFLUXDB_USER") WITH PASSWORD $(password "$INFLUXDB_USER_PASSWORD")"
    if [ -n "${INFLUXDB_DB-}" ]; then execute "GRANT ALL ON $(name "$INFLUXDB_DB") TO $(name "$INFLUXDB_USER")"; fi
  fi
  kill $influxd
  wait $influxd || :
  unset INFLUX_USERNAME INFLUX_PASSWORD
}

case ${1-} in -*) set -- influxd "$@" ;; esac
if [ "${1-}" = influxd ] && [ ! -d "${INFLUXDB_META_DIR:-/var/lib/influxdb/meta}" ] && [ -n "${INFLUXDB_DB-}$admin" ]; then
  shift
  init "$@"
  set -- influxd "$@"
fi
exec "$@"
