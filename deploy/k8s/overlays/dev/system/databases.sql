-- Run once, on a new cluster: a database for each service, owned by a role of the same
-- name that may connect to no other.
CREATE ROLE messaging LOGIN PASSWORD 'development-only';
CREATE DATABASE messaging OWNER messaging;
REVOKE ALL ON DATABASE messaging FROM PUBLIC;
CREATE ROLE notifier LOGIN PASSWORD 'development-only';
CREATE DATABASE notifier OWNER notifier;
REVOKE ALL ON DATABASE notifier FROM PUBLIC;
CREATE ROLE taxonomy LOGIN PASSWORD 'development-only';
CREATE DATABASE taxonomy OWNER taxonomy;
REVOKE ALL ON DATABASE taxonomy FROM PUBLIC;
