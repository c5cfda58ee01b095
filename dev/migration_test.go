package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// breaking are statements that may take something from a program of the version
// before, which runs on until it is replaced and comes back when an upgrade is taken
// back (docs/upgrade.md).
var breaking = []struct {
	statement *regexp.Regexp
	why       string
}{
	{regexp.MustCompile(`(?is)\bDROP\s+(TABLE|COLUMN|VIEW|FUNCTION|SEQUENCE|TYPE)\b`), "drops what the version before may use"},
	{regexp.MustCompile(`(?is)\bRENAME\b`), "renames what the version before may use"},
	{regexp.MustCompile(`(?is)\bALTER\s+(COLUMN\s+)?\w+\s+(SET\s+DATA\s+)?TYPE\b`), "changes the type of a column that the version before may use"},
	{regexp.MustCompile(`(?is)\bSET\s+NOT\s+NULL\b`), "wants what the version before may not write"},
	{regexp.MustCompile(`(?is)\bDROP\s+DEFAULT\b`), "wants what the version before may not write"},
	{regexp.MustCompile(`(?is)\bALTER\s+TABLE\b.*\bADD\s+(CONSTRAINT|CHECK|UNIQUE|FOREIGN|PRIMARY)\b`), "may refuse what the version before writes"},
	{regexp.MustCompile(`(?is)\bCREATE\s+UNIQUE\s+INDEX\b`), "may refuse what the version before writes"},
}

var createdTable = regexp.MustCompile(`(?i)CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)`)

var addedColumn = regexp.MustCompile(`(?is)\bADD\s+COLUMN\b[^,;]*`)

// contract finds what a migration may break and does not say it may: a comment
// "-- contract: why" before the statement.
func contract(content string) []string {
	up, _, _ := strings.Cut(content, "-- +goose Down")
	created := make(map[string]bool)
	var faults []string
	for _, statement := range statements(up) {
		comment, code := separate(statement)
		if made := createdTable.FindStringSubmatch(code); made != nil {
			created[made[1]] = true
		}
		if _, reason, said := strings.Cut(comment, "contract:"); said && len(strings.Fields(reason)) > 3 {
			continue
		}
		// What is made by the same migration, nobody uses yet.
		if on := regexp.MustCompile(`(?i)(?:ALTER\s+TABLE|\bON)\s+(\w+)`).FindStringSubmatch(code); on != nil && created[on[1]] {
			continue
		}
		for _, b := range breaking {
			if b.statement.MatchString(code) {
				faults = append(faults, fmt.Sprintf("%s: %s", b.why, strings.Join(strings.Fields(code), " ")))
			}
		}
		for _, column := range addedColumn.FindAllString(code, -1) {
			upper := strings.ToUpper(column)
			if strings.Contains(upper, "NOT NULL") && !strings.Contains(upper, "DEFAULT") && !strings.Contains(upper, "GENERATED") {
				faults = append(faults, "wants what the version before does not write: "+strings.Join(strings.Fields(column), " "))
			}
		}
	}
	return faults
}

// statements cuts a migration; bodies of functions stay whole.
func statements(up string) []string {
	var all []string
	for i, part := range strings.Split(strings.ReplaceAll(up, "-- +goose StatementEnd", "-- +goose StatementBegin"), "-- +goose StatementBegin") {
		if i%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, regexp.MustCompile(`;[ \t]*(--[^\n]*)?\n`).Split(part, -1)...)
	}
	return all
}

// separate tells comments from code.
func separate(statement string) (comment, code string) {
	for line := range strings.Lines(statement) {
		before, after, _ := strings.Cut(line, "--")
		code += before + "\n"
		comment += strings.TrimSpace(after) + " "
	}
	return comment, code
}

// Migrations only add, or say why nothing of the version before is hurt.
func TestMigrationsAreExpandAndContract(t *testing.T) {
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
		for _, fault := range contract(string(content)) {
			t.Errorf("%s %s; or say before it \"-- contract: why nothing of the version before is hurt\"", filepath.Base(file), fault)
		}
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		migration string
		faults    int
	}{
		{"CREATE TABLE a (id int NOT NULL);\nALTER TABLE a ADD CONSTRAINT c CHECK (id > 0);\nCREATE UNIQUE INDEX i ON a (id);\n", 0},
		{"ALTER TABLE a ADD COLUMN b text;\nCREATE INDEX i ON a (b);\n", 0},
		{"ALTER TABLE a ADD COLUMN b text NOT NULL DEFAULT '', ADD COLUMN c text;\n", 0},
		{"ALTER TABLE a\n    ADD COLUMN b text,\n    ADD COLUMN c text NOT NULL;\n", 1},
		{"ALTER TABLE a DROP COLUMN b;\n", 1},
		{"ALTER TABLE a RENAME COLUMN b TO c;\n", 1},
		{"ALTER TABLE a ALTER COLUMN b TYPE bigint;\n", 1},
		{"ALTER TABLE a ALTER COLUMN b SET NOT NULL;\n", 1},
		{"ALTER TABLE a ADD CHECK (b > 0);\n", 1},
		{"CREATE UNIQUE INDEX i ON a (b);\n", 1},
		{"DROP TABLE a;\n", 1},
		{"ALTER TABLE a RENAME TO b;\nCREATE TABLE a (id int);\n", 1},
		{"-- contract: nothing reads a since the version before last.\nDROP TABLE a;\n", 0},
		{"-- contract: yes\nDROP TABLE a;\n", 1},
		{"-- contract: nothing reads a since the version before last.\nDROP TABLE a;\nDROP TABLE b;\n", 1},
		{"-- DROP TABLE a;\nCREATE TABLE b (id int);\n", 0},
		{"CREATE TABLE b (id int);\n-- +goose Down\nDROP TABLE b;\n", 0},
		{"-- +goose StatementBegin\nCREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; SELECT 2 $$;\n-- +goose StatementEnd\nDROP FUNCTION g();\n", 1},
	} {
		if got := contract("-- +goose Up\n" + row.migration); len(got) != row.faults {
			t.Errorf("%q: %v, want %d faults", row.migration, got, row.faults)
		}
	}
}
