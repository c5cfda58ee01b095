#!/bin/sh
# Run once, by the image of PostgreSQL on a new cluster: a database for each service,
# owned by a role of the same name that may connect to no other. Row-level security
# holds for it: it is no superuser.
set -eu
for name in taxonomy messaging notifier; do
  psql -v ON_ERROR_STOP=1 -v name="$name" -v password="$(cat "/run/secrets/postgres/$name")" -U postgres <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
