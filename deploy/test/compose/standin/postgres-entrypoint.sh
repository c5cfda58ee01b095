#!/bin/sh
# What docker-compose.yml uses of the official image's entry point: a new cluster
# with a password from a file, and the scripts of /docker-entrypoint-initdb.d.
set -eu
export PATH="$(echo /usr/lib/postgresql/*/bin):$PATH" PGDATA=/var/lib/postgresql/data
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb -D "$PGDATA" -U postgres --locale=C.UTF-8 --pwfile="$POSTGRES_PASSWORD_FILE" -A scram-sha-256 --auth-local=trust >/dev/null
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  # As there: no TCP until the scripts have run.
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start >/dev/null
  for script in /docker-entrypoint-initdb.d/*.sh; do sh "$script"; done
  pg_ctl -D "$PGDATA" -w stop >/dev/null
fi
[ "$1" = postgres ] && set -- "$@" -c listen_addresses='*'
exec "$@"
