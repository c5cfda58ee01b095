-- +goose Up

-- What members did with the online services they were proposed, counted by day.
-- There is nothing of a member in it. A row appears with the first outcome of its
-- day; some hundred selections make some hundred rows a day at most.
CREATE TABLE suggestion_outcome (
    day               date     NOT NULL,            -- in Paris
    audience          smallint NOT NULL CHECK (audience BETWEEN 1 AND 3),
    -- The selection, as deep as it was made, and the service: codes of the version
    -- that was current.
    theme             text     NOT NULL,
    topic             text     NOT NULL DEFAULT '',
    reason            text     NOT NULL DEFAULT '',
    service           text     NOT NULL,
    shown             bigint   NOT NULL DEFAULT 0,
    followed          bigint   NOT NULL DEFAULT 0,
    wrote_anyway      bigint   NOT NULL DEFAULT 0,
    changed_selection bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (day, audience, theme, topic, reason, service)
);

-- +goose Down
DROP TABLE suggestion_outcome;
