-- +goose Up

-- How many conversations wait for the fund, by caisse, queue and status: kept by what
-- changes them, whichever program that is, and not counted for each reader (waiting.go).
-- Changes are rows of their own, so that nobody waits for anybody; the process adds them
-- to the counts now and then. The table is small and rows live for seconds.
CREATE TABLE waiting_change (
    caisse text     NOT NULL,
    queue  text     NOT NULL,
    status smallint NOT NULL,
    n      integer  NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

CREATE TABLE waiting_count (
    caisse text     NOT NULL,
    queue  text     NOT NULL,
    status smallint NOT NULL,
    n      bigint   NOT NULL,
    PRIMARY KEY (caisse, queue, status)
);

-- +goose StatementBegin
CREATE FUNCTION waiting_opened() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO waiting_change (caisse, queue, status, n)
	SELECT caisse, queue, status, count(*) FROM opened WHERE status IN (1, 2, 3, 6) GROUP BY caisse, queue, status;
	RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION waiting_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.status IN (1, 2, 3, 6) THEN
		INSERT INTO waiting_change (caisse, queue, status, n) VALUES (OLD.caisse, OLD.queue, OLD.status, -1);
	END IF;
	IF TG_OP = 'UPDATE' AND NEW.status IN (1, 2, 3, 6) THEN
		INSERT INTO waiting_change (caisse, queue, status, n) VALUES (NEW.caisse, NEW.queue, NEW.status, 1);
	END IF;
	RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER waiting_opened AFTER INSERT ON conversation REFERENCING NEW TABLE AS opened
    FOR EACH STATEMENT EXECUTE FUNCTION waiting_opened();
CREATE TRIGGER waiting_changed AFTER UPDATE ON conversation
    FOR EACH ROW WHEN (OLD.status <> NEW.status OR OLD.queue <> NEW.queue OR OLD.caisse <> NEW.caisse)
    EXECUTE FUNCTION waiting_changed();
CREATE TRIGGER waiting_gone AFTER DELETE ON conversation
    FOR EACH ROW WHEN (OLD.status IN (1, 2, 3, 6))
    EXECUTE FUNCTION waiting_changed();

-- +goose Down
DROP TRIGGER waiting_opened ON conversation;
DROP TRIGGER waiting_changed ON conversation;
DROP TRIGGER waiting_gone ON conversation;
DROP FUNCTION waiting_opened();
DROP FUNCTION waiting_changed();
DROP TABLE waiting_count, waiting_change;
DELETE FROM backfill WHERE name = 'waiting_count';
