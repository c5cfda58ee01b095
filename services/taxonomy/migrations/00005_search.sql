-- +goose Up

-- Members' searches, counted by day. There is nothing of a member in it.
CREATE TABLE search_day (
    day            date   PRIMARY KEY, -- in Paris
    searches       bigint NOT NULL,
    without_choice bigint NOT NULL
);

-- The secret of a month, under which words and members are hashed until five members have
-- searched for a word (searched.go). It is deleted when the month has ended. Not logged: it
-- is in no archive of the log, base backup or standby; when the server was not shut down in
-- order, or another took its place, there is a new one, and the counting of words begins anew.
CREATE UNLOGGED TABLE search_month (
    month  date    PRIMARY KEY, -- its first day
    secret bytea   NOT NULL CHECK (length(secret) = 32),
    words  integer NOT NULL DEFAULT 0 -- how many rows of searched_word were made under the secret
);

-- The words of searches that ended without a choice. One without the word is deleted when its
-- month has ended.
CREATE TABLE searched_word (
    month    date   NOT NULL,
    digest   bytea  NOT NULL CHECK (length(digest) = 32), -- of the word, under the month's secret
    buckets  bigint NOT NULL,           -- a bit for each of 64 groups of members whose searches had it; 0 once the word is here
    word     text,                      -- once there are five bits
    searches bigint NOT NULL DEFAULT 0, -- with the word; beginning with the number of bits
    PRIMARY KEY (month, digest),
    CHECK (word IS NULL OR searches >= 5)
);
CREATE INDEX searched_word_pending ON searched_word (month) WHERE word IS NULL;
CREATE INDEX searched_word_month ON searched_word (month) WHERE word IS NOT NULL;

-- +goose Down
DROP TABLE searched_word;
DROP TABLE search_month;
DROP TABLE search_day;
