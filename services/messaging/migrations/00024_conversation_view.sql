-- +goose Up

-- Since when a conversation waits for the fund: NULL: since created_at. What makes one that
-- did not wait wait again sets it: a further message of the member, an agent who reopens it.
-- Earlier binaries do not: what they reopen has its old place.
ALTER TABLE conversation ADD COLUMN waits_since timestamptz;

-- The kinds of conversations that there are: what lists of agents are narrowed by. Triggers add
-- them, whichever program stores a conversation, in its transaction: no conversation is to be
-- seen whose kind is not. The process adds those from before, and deletes those that no
-- conversation has any more (internal/upkeep).
CREATE TABLE conversation_kind (
    caisse       text        NOT NULL,
    queue        text        NOT NULL,
    theme        text        NOT NULL,
    topic        text        NOT NULL,
    reason       text        NOT NULL,
    audience     smallint    NOT NULL,
    -- Since when it is known that no conversation has it; NULL: some have.
    unused_since timestamptz,
    PRIMARY KEY (caisse, queue, theme, topic, reason, audience)
);

-- A number for a kind, by which indexes have it: a tenth of the bytes. Two kinds may have the
-- same one, however unlikely that is: who looks for a kind by its number compares the rest too.
-- The codes have no spaces.
-- +goose StatementBegin
CREATE FUNCTION kind_number(caisse text, queue text, theme text, topic text, reason text, audience smallint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT hashtextextended(caisse || ' ' || queue || ' ' || theme || ' ' || topic || ' ' || reason, audience)
$$;
-- +goose StatementEnd

-- A program may say that it knows the kinds of what it stores, for it has stored some within the
-- hour. Otherwise: most kinds are there, and nothing is written. One that is marked as unused is no longer. In
-- one order, so that no two transactions wait for each other. OFFSET 0: each is looked up by
-- itself, for as a join PostgreSQL would read all kinds for each submission.
-- +goose StatementBegin
CREATE FUNCTION kind_opened() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('messaging.kinds', true) = 'known' THEN
		RETURN NULL;
	END IF;
	IF EXISTS (SELECT FROM opened AS o WHERE NOT EXISTS (
		SELECT FROM conversation_kind AS k WHERE k.caisse = o.caisse AND k.queue = o.queue AND k.theme = o.theme
		AND k.topic = o.topic AND k.reason = o.reason AND k.audience = o.audience AND k.unused_since IS NULL OFFSET 0))
	THEN
		INSERT INTO conversation_kind (caisse, queue, theme, topic, reason, audience)
		SELECT DISTINCT caisse, queue, theme, topic, reason, audience FROM opened AS o WHERE NOT EXISTS (
			SELECT FROM conversation_kind AS k WHERE k.caisse = o.caisse AND k.queue = o.queue AND k.theme = o.theme
			AND k.topic = o.topic AND k.reason = o.reason AND k.audience = o.audience AND k.unused_since IS NULL OFFSET 0)
		ORDER BY caisse, queue, theme, topic, reason, audience
		ON CONFLICT (caisse, queue, theme, topic, reason, audience) DO UPDATE SET unused_since = NULL;
	END IF;
	RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION kind_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (
		SELECT FROM conversation_kind AS k WHERE k.caisse = NEW.caisse AND k.queue = NEW.queue AND k.theme = NEW.theme
		AND k.topic = NEW.topic AND k.reason = NEW.reason AND k.audience = NEW.audience AND k.unused_since IS NULL)
	THEN
		INSERT INTO conversation_kind (caisse, queue, theme, topic, reason, audience)
		VALUES (NEW.caisse, NEW.queue, NEW.theme, NEW.topic, NEW.reason, NEW.audience)
		ON CONFLICT (caisse, queue, theme, topic, reason, audience) DO UPDATE SET unused_since = NULL;
	END IF;
	RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER kind_opened AFTER INSERT ON conversation REFERENCING NEW TABLE AS opened
    FOR EACH STATEMENT EXECUTE FUNCTION kind_opened();
CREATE TRIGGER kind_changed AFTER UPDATE ON conversation
    FOR EACH ROW WHEN (OLD.queue <> NEW.queue OR OLD.theme <> NEW.theme OR OLD.topic <> NEW.topic OR OLD.reason <> NEW.reason OR OLD.audience <> NEW.audience OR OLD.caisse <> NEW.caisse)
    EXECUTE FUNCTION kind_changed();

-- +goose Down
DROP TRIGGER kind_opened ON conversation;
DROP TRIGGER kind_changed ON conversation;
DROP FUNCTION kind_opened();
DROP FUNCTION kind_changed();
DROP FUNCTION kind_number(text, text, text, text, text, smallint);
DROP TABLE conversation_kind;
ALTER TABLE conversation DROP COLUMN waits_since;
DELETE FROM backfill WHERE name = 'conversation_kind';
