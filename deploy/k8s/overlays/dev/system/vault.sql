-- Run once, on a new cluster: the vault, owned by a role that may connect to nothing else.
CREATE ROLE vault LOGIN PASSWORD 'development-only';
CREATE DATABASE vault OWNER vault;
REVOKE ALL ON DATABASE vault FROM PUBLIC;
