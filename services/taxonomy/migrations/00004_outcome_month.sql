-- +goose Up

-- The counts of suggestion_outcome added up by month, for those that are over and may be within
-- the last 366 days, so that a year's figures read thirteen months and not 366 days. The process
-- adds a month up when it is past, whole or not at all, and what has no sum yet is read from its
-- days (figures.go): a version that does not know this table goes on as before.
CREATE TABLE suggestion_outcome_month (
    month             date     NOT NULL, -- its first day
    audience          smallint NOT NULL,
    theme             text     NOT NULL,
    topic             text     NOT NULL,
    reason            text     NOT NULL,
    service           text     NOT NULL,
    shown             bigint   NOT NULL,
    followed          bigint   NOT NULL,
    wrote_anyway      bigint   NOT NULL,
    changed_selection bigint   NOT NULL,
    PRIMARY KEY (month, audience, theme, topic, reason, service)
);

-- +goose Down
DROP TABLE suggestion_outcome_month;
