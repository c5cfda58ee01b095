package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// holding are statements that keep a table from others for as long as they take, which
// grows with the table. What is right instead is said in package postgres, at Migrate.
var holding = []struct {
	statement *regexp.Regexp // of a statement on one line, in capitals
	why       string
}{
	{regexp.MustCompile(`^(WITH .*)?(UPDATE|DELETE|MERGE|TRUNCATE) `), "changes rows: the process does, in batches"},
	{regexp.MustCompile(`^(WITH .*)?INSERT INTO .* SELECT `), "copies rows: the process does, in batches"},
	{regexp.MustCompile(`^(CLUSTER|VACUUM|REINDEX|LOCK|REFRESH) ?`), "holds a table"},
	{regexp.MustCompile(`\bADD (CONSTRAINT \w+ )?(CHECK|FOREIGN|UNIQUE|PRIMARY|EXCLUDE)\b(?:.*[^D])?$`), "reads a table for a constraint: NOT VALID, and VALIDATE in a file of its own"},
	{regexp.MustCompile(`\bADD COLUMN [^,]*\b(CHECK|REFERENCES|UNIQUE|PRIMARY|GENERATED|SERIAL|BIGSERIAL|CLOCK_TIMESTAMP|GEN_RANDOM_UUID)\b`), "reads or writes a table for a column"},
	{regexp.MustCompile(`\bADD COLUMN [^,]*\bDEFAULT (NEXTVAL|RANDOM|STATEMENT_TIMESTAMP|TIMEOFDAY) ?\(`), "writes a table for a column"},
	{regexp.MustCompile(`^DO \$.*\b(UPDATE|DELETE FROM|INSERT INTO|MERGE INTO|TRUNCATE|ALTER TABLE|LOCK TABLE)\b`), "changes a table out of sight"},
	{regexp.MustCompile(`\bSET (NOT NULL|TABLESPACE|LOGGED|UNLOGGED)\b`), "reads or writes a table"},
	{regexp.MustCompile(`\bALTER (COLUMN )?\w+ (SET DATA )?TYPE\b`), "writes a table"},
}

var (
	makesIndex = regexp.MustCompile(`^CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?(?:IF NOT EXISTS )?(\w+)`)
	dropsIndex = regexp.MustCompile(`^DROP INDEX (CONCURRENTLY )?`)
	// beside are the statements of a file without a transaction.
	beside   = regexp.MustCompile(`^(CREATE (UNIQUE )?INDEX CONCURRENTLY|DROP INDEX CONCURRENTLY|ALTER TABLE \w+ VALIDATE CONSTRAINT|SET LOCK_TIMEOUT = 0$|DO \$)`)
	onWhat   = regexp.MustCompile(`(?:^ALTER TABLE (?:IF EXISTS )?(?:ONLY )?|^UPDATE (?:ONLY )?|^DELETE FROM (?:ONLY )?|^TRUNCATE (?:TABLE )?|^INSERT INTO | ON )(\w+)`)
	oneSpace = regexp.MustCompile(`\s+`)
)

// locks finds what a migration holds tables for.
func locks(content string) (faults []string) {
	up, _, _ := strings.Cut(content, "-- +goose Down")
	apart := strings.Contains(up, "-- +goose NO TRANSACTION")
	created, patient, before := make(map[string]bool), false, ""
	for _, statement := range statements(up) {
		_, code := separate(statement)
		code = strings.ToUpper(strings.TrimSpace(oneSpace.ReplaceAllString(code, " ")))
		if code == "" {
			continue
		}
		fault := func(why string) { faults = append(faults, fmt.Sprintf("%s: %s", why, code)) }
		if made := createdTable.FindStringSubmatch(code); made != nil {
			created[made[1]] = true
		}
		patient = patient || code == "SET LOCK_TIMEOUT = 0"
		on := onWhat.FindStringSubmatch(code)
		own := on != nil && created[on[1]] // what is made by the same migration, nobody uses yet
		index := makesIndex.FindStringSubmatch(code)
		switch {
		case apart && !beside.MatchString(code):
			fault("stands in a file without a transaction, where what was done stays when the next statement fails")
		case index != nil && index[1] == "" && !own:
			fault("makes an index that nobody may write beside: CONCURRENTLY, in a file of its own")
		case index != nil && index[1] != "" && !apart:
			fault("must stand in a file of its own, with -- +goose NO TRANSACTION")
		case index != nil && index[1] != "" && !patient:
			fault("gives up beside a reader: SET lock_timeout = 0 before it")
		case index != nil && index[1] != "" && !regexp.MustCompile(`\b`+index[2]+`\b`).MatchString(before):
			fault("takes what was begun and not finished for made: drop it before")
		case strings.HasPrefix(code, "DROP INDEX") && dropsIndex.FindStringSubmatch(code)[1] == "":
			fault("waits for all who read and has all others wait: CONCURRENTLY, in a file of its own")
		}
		for _, h := range holding {
			if !own && index == nil && h.statement.MatchString(code) {
				fault(h.why)
			}
		}
		before += " " + code
	}
	return faults
}

// Migrations hold no table for longer than a moment.
func TestMigrationsHoldNothing(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root(t), "services/*/migrations/*.sql"))
	if err != nil || len(files) < 9 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range locks(string(content)) {
			t.Errorf("%s %s", filepath.Base(file), fault)
		}
	}
}

func TestLocks(t *testing.T) {
	t.Parallel()
	const apart = "-- +goose NO TRANSACTION\n-- +goose Up\n"
	for _, row := range []struct {
		migration string
		faults    int
	}{
		{"CREATE TABLE a (id int);\nCREATE INDEX i ON a (id);\nUPDATE a SET id = 1;\nINSERT INTO a SELECT 1;\nALTER TABLE a ADD CHECK (id > 0);\n", 0},
		{"ALTER TABLE a ADD COLUMN b text, ADD COLUMN c text NOT NULL DEFAULT '';\n", 0},
		{"INSERT INTO a (id) VALUES (1);\n", 0},
		{"ALTER TABLE a ADD CONSTRAINT c CHECK (b IN ('x', 'y')) NOT VALID;\n", 0},
		{"-- UPDATE a SET b = 1;\nALTER TABLE a ADD COLUMN b text;\n", 0},
		{"ALTER TABLE a ADD COLUMN b text;\n-- +goose Down\nUPDATE a SET b = 1;\n", 0},
		{"UPDATE a SET b = 1;\n", 1},
		{"update a\nset b = 1;\n", 1},
		{"DELETE FROM a;\n", 1},
		{"WITH x AS (SELECT 1) UPDATE a SET b = 1;\n", 1},
		{"INSERT INTO a SELECT * FROM b;\n", 1},
		{"CREATE TABLE b (id int);\nINSERT INTO a SELECT * FROM b;\n", 1},
		{"CREATE INDEX i ON a (b);\n", 1},
		{"CREATE UNIQUE INDEX IF NOT EXISTS i ON a (b);\n", 1},
		{"CREATE INDEX CONCURRENTLY i ON a (b);\n", 1},
		{"DROP INDEX i;\n", 1},
		{"ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0);\n", 1},
		{"ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES c;\n", 1},
		{"ALTER TABLE a ADD COLUMN b text CHECK (b <> '');\n", 1},
		{"ALTER TABLE a ADD COLUMN b int REFERENCES c;\n", 1},
		{"ALTER TABLE a ADD COLUMN b uuid DEFAULT gen_random_uuid();\n", 1},
		{"ALTER TABLE a ALTER COLUMN b SET NOT NULL;\n", 1},
		{"ALTER TABLE a ALTER COLUMN b TYPE bigint;\n", 1},
		{"LOCK TABLE a;\n", 1},
		{"ALTER TABLE a ADD COLUMN b bigint DEFAULT nextval('s');\n", 1},
		{"-- +goose StatementBegin\nDO $$ BEGIN UPDATE a SET b = 1; END $$;\n-- +goose StatementEnd\n", 1},
		{apart + "-- +goose StatementBegin\nDO $$ BEGIN DELETE FROM a; END $$;\n-- +goose StatementEnd\n", 1},
		{apart + "SET lock_timeout = 0;\nDROP INDEX CONCURRENTLY IF EXISTS i;\nCREATE INDEX CONCURRENTLY i ON a (b);\n", 0},
		{apart + "-- +goose StatementBegin\nDO $$ BEGIN PERFORM 'i'; END $$;\n-- +goose StatementEnd\nSET lock_timeout = 0;\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON a (b);\n", 0},
		{apart + "SET lock_timeout = 0;\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (b);\n", 1},
		{apart + "DROP INDEX CONCURRENTLY IF EXISTS i;\nCREATE INDEX CONCURRENTLY i ON a (b);\n", 1},
		{apart + "ALTER TABLE a ADD COLUMN b text;\n", 1},
		{apart + "ALTER TABLE a VALIDATE CONSTRAINT c;\n", 0},
	} {
		migration := row.migration
		if !strings.HasPrefix(migration, apart) {
			migration = "-- +goose Up\n" + migration
		}
		if got := locks(migration); len(got) != row.faults {
			t.Errorf("%q: %v, want %d faults", row.migration, got, row.faults)
		}
	}
}
