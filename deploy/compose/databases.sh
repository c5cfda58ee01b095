#!/bin/sh
# Run once, by the image of PostgreSQL on a new cluster: the databases that $DATABASES
# names, each owned by a role of the same name that may connect to no other. Row-level
# security holds for it: it is no superuser. The one folder of secrets that the container
# has holds the passwords.
set -eu
for name in $DATABASES; do
  psql -v ON_ERROR_STOP=1 -v name="$name" -v password="$(cat /run/secrets/*/"$name")" -U postgres <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
