package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// form is a pattern of a statement's code, in which NAME is a name, TYPE a type of
// PostgreSQL's own and CONSTANT what is computed once.
func form(pattern string) *regexp.Regexp {
	const builtIn = `(?:(?:big|small)?int|int[248]|integer|text|varchar|character varying|bool|boolean|uuid|bytea|jsonb?|date|time|timestamptz|timestamp(?: with(?:out)? time zone)?|interval|numeric|decimal|real|float[48]?|double precision|inet|cidr)(?: \(\))?(?: \[ \])*`
	pattern = strings.ReplaceAll(pattern, "CONSTANT", `(?:''|(?:- )?\d[\d.]*|true|false|now \(\)|current_timestamp)(?: :: TYPE)?`)
	return regexp.MustCompile("^(?:" + strings.NewReplacer("NAME", `("[^"]*"|[\w$]+)`, "TYPE", builtIn).Replace(pattern) + ")$")
}

// What keeps nothing from others for longer than a moment, however large a table is. What
// is none of these is refused: whoever needs another form looks up which lock it takes,
// and for how long, and adds it here.
var (
	makesTable = form(`create (?:unlogged )?table (if not exists )?NAME \(\)(?: partition by \w+ \(\))?(?: with \(\))?`)
	makesPart  = form(`create table NAME partition of NAME (?:default|for values (?:from|in|with) \( [^()]* \)(?: to \( [^()]* \))?)`)
	makesIndex = form(`create (?:unique )?index (?:if not exists )?NAME on NAME (?:using \w+ )?\(\).*`)
	insertsRow = form(`insert into NAME (?:\( [^()]* \) )?values \( [^()]* \)(?: , \( [^()]* \))*(?: on conflict do nothing)?`)
	makesCode  = form(`create (?:or replace )?(?:(?:function|procedure) NAME \(\)|(?:constraint )?trigger NAME ) ?.*`)
	alters     = form(`alter table (?:if exists )?(?:only )?NAME (.*)`)
	harmless   = form(`(?:create|alter) sequence .*|create view NAME (?:\(\) )?as .*|comment on .* is (?:''|null)|` +
		`drop (?:table|view|sequence|function|procedure|trigger) .*`)

	// actions are those of ALTER TABLE, and ownActions those on a table made by the same file.
	actions = form(`add column (?:if not exists )?NAME TYPE(?: null| default CONSTANT(?: not null)?| not null default CONSTANT)?|` +
		`add (?:constraint NAME )?(?:check \(\)|foreign key \(\) references NAME.*) not valid|add constraint NAME unique using index NAME|` +
		`drop (?:constraint|column) (?:if exists )?NAME|rename (?:column |constraint )?NAME to NAME|rename to NAME|` +
		`alter (?:column )?NAME (?:set default .*|drop (?:default|not null)|set (?:statistics|storage) \w+|set \(\))|(?:re)?set \(\)`)
	ownActions = form(`add (?:column|constraint|check|unique|primary key|foreign key|exclude) .*|alter column .*`)
	renames    = form(`rename to NAME`)

	// These may stand in a file without a transaction, where each must be repeatable.
	makesBeside = form(`create (?:unique )?index concurrently (?:if not exists )?NAME on NAME (?:using \w+ )?\(\).*`)
	dropsBeside = form(`drop index concurrently if exists NAME`)
	validates   = form(`alter table NAME validate constraint NAME`)
	waits       = form(`set lock_timeout (?:=|to) 0`)

	// Blocks are looked into: they drop indexes that were begun and not finished, or look at the schema and fail.
	dropsOne   = regexp.MustCompile(`^BEGIN IF EXISTS \(SELECT FROM pg_index WHERE indexrelid = to_regclass\('(\w+)'\) AND NOT indisvalid\) THEN DROP INDEX (\w+); END IF; END;?$`)
	dropsSome  = regexp.MustCompile(`^DECLARE unfinished text; BEGIN FOR unfinished IN SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid AND indexrelid = ANY \(ARRAY\(SELECT to_regclass\(name\) FROM unnest\(ARRAY\[((?:'\w+'(?:, )?)+)\]\) AS name\)\) LOOP EXECUTE 'DROP INDEX ' \|\| unfinished; END LOOP; END;?$`)
	failsEarly = regexp.MustCompile(`^BEGIN IF NOT EXISTS \(SELECT FROM pg_\w+ WHERE \w+ = '\w+'::regclass\) THEN RAISE EXCEPTION '[^';]*'; END IF; END;?$`)
)

// instead says what to do about a statement, or an action of ALTER TABLE, that is refused:
// the first that begins so. More is in package postgres, at Migrate.
var instead = []struct {
	begins *regexp.Regexp
	advice string
}{
	{regexp.MustCompile(`^(with|update|delete|merge|truncate|copy)\b`), "changes rows: the process does, in batches"},
	{regexp.MustCompile(`^insert\b`), "copies or computes rows: the process does, in batches; a migration inserts constants"},
	{regexp.MustCompile(`^create (unlogged |temp )?table .* as\b|^(create materialized|refresh)\b`), "copies rows: make an empty table, which the process fills"},
	{regexp.MustCompile(`^create table .*partition of\b|^attach\b`), "reads rows for a partition: the process makes those of tables in use"},
	{regexp.MustCompile(`^create (unique )?index\b`), "makes an index that nobody may write beside: CONCURRENTLY, in a file of its own with -- +goose NO TRANSACTION"},
	{regexp.MustCompile(`^drop index\b`), "waits for all who read and has all others wait: CONCURRENTLY IF EXISTS, one at a time, in a file of its own with -- +goose NO TRANSACTION"},
	{regexp.MustCompile(`^drop\b.* cascade$`), "drops what is not named: say each by its name"},
	{regexp.MustCompile(`^(select|call|do|execute)\b`), "runs what is out of sight: the process does, in batches; of DO blocks only those that drop unfinished indexes"},
	{regexp.MustCompile(`^set (access method|tablespace|logged|unlogged) ?`), "writes a table: leave it to who operates the database"},
	{regexp.MustCompile(`^(set|reset) (local |session )?\w+( |$)`), "changes what is set for the migration: SET lock_timeout = 0 only, in a file with -- +goose NO TRANSACTION, before what is made CONCURRENTLY"},
	{regexp.MustCompile(`^(begin|start|commit|end|rollback|abort|savepoint)\b`), "begins or ends a transaction: the runner does"},
	{regexp.MustCompile(`^(cluster|vacuum|reindex|lock)\b`), "holds a table: leave it to who operates the database"},
	{regexp.MustCompile(`^validate\b`), "reads a table while it is locked: VALIDATE in a file of its own with -- +goose NO TRANSACTION, before lock_timeout is set"},
	{regexp.MustCompile(`^add (constraint|check|unique|primary|foreign|exclude)\b`), "reads a table for a constraint: CHECK and FOREIGN KEY as NOT VALID, and VALIDATE in a later file; UNIQUE USING an index made CONCURRENTLY"},
	{regexp.MustCompile(`^add\b`), "reads or writes a table for a column: ADD COLUMN of a built-in type, without a default or with a constant; the process fills it, and constraints are added NOT VALID"},
	{regexp.MustCompile(`^alter .* type\b`), "writes a table: add a column, which the process fills"},
	{regexp.MustCompile(`^alter .* set not null$`), "reads a table: ADD CONSTRAINT ... CHECK (... IS NOT NULL) NOT VALID, and VALIDATE in a later file"},
	{regexp.MustCompile(`^`), "is of no form that is known to hold a table for a moment only: once it is known which lock it takes, and for how long, add it to dev/migration_lock_test.go"},
}

// adviceOn says what to do instead of a statement or an action.
func adviceOn(code string) string {
	for _, i := range instead {
		if i.begins.MatchString(code) {
			return i.advice
		}
	}
	return ""
}

// A lint judges the statements of one migration, in their order.
type lint struct {
	apart   bool            // without a transaction
	own     map[string]bool // tables made by this file: nobody uses them yet
	coded   bool            // made functions or triggers, which must not run
	dropped map[string]bool // unfinished indexes are gone
	patient bool            // lock_timeout is 0
}

// fault says what is wrong with the next statement; empty: nothing.
func (l *lint) fault(s statement) string {
	switch {
	case s.behind:
		return "is sent with the statement before it: a line of its own"
	case s.code == "do $$":
		return l.block(s)
	case l.apart:
		return l.beside(s)
	case makesBeside.MatchString(s.code) || dropsBeside.MatchString(s.code):
		return "must stand in a file of its own, with -- +goose NO TRANSACTION"
	}
	return l.together(s)
}

// together judges a statement of a transaction, in which tables stay locked up to its end.
func (l *lint) together(s statement) string {
	if made := makesTable.FindStringSubmatch(s.code); made != nil {
		// What may have been there before is nobody's own.
		l.own[bare(made[2])] = made[1] == ""
		return ""
	}
	if made := makesPart.FindStringSubmatch(s.whole); made != nil && l.own[bare(made[2])] {
		l.own[bare(made[1])] = true
		return ""
	}
	if made := makesIndex.FindStringSubmatch(s.code); made != nil && l.own[bare(made[2])] {
		return ""
	}
	if on := alters.FindStringSubmatch(s.code); on != nil {
		for action := range strings.SplitSeq(on[2], " , ") {
			if !actions.MatchString(action) && (l.coded || !l.own[bare(on[1])] || !ownActions.MatchString(action)) {
				return adviceOn(action)
			}
			if name := renames.FindStringSubmatch(action); name != nil {
				l.own[bare(name[1])] = false
			}
		}
		return ""
	}
	switch {
	case insertsRow.MatchString(s.whole) && l.coded:
		return "may run the functions made before it: insert first"
	case insertsRow.MatchString(s.whole), harmless.MatchString(s.code) && !strings.HasSuffix(s.code, " cascade"):
		return ""
	case makesCode.MatchString(s.code):
		l.coded = true
		return ""
	}
	return adviceOn(s.code)
}

// block judges a DO block.
func (l *lint) block(s statement) string {
	if failsEarly.MatchString(s.body) {
		return ""
	}
	var names []string
	if one := dropsOne.FindStringSubmatch(s.body); one != nil && one[1] == one[2] {
		names = one[1:2]
	} else if some := dropsSome.FindStringSubmatch(s.body); some != nil {
		names = strings.Split(strings.ReplaceAll(some[1], "'", ""), ", ")
	}
	switch {
	case names == nil || !l.apart:
		return adviceOn(s.code)
	case l.patient:
		return "takes a table and waits for it without an end: before SET lock_timeout = 0"
	}
	for _, name := range names {
		l.dropped[name] = true
	}
	return ""
}

// beside judges a statement outside a transaction, which is repeated when it or one after
// it fails.
func (l *lint) beside(s statement) string {
	if name := dropsBeside.FindStringSubmatch(s.code); name != nil {
		l.dropped[bare(name[1])] = true
		return ""
	}
	name := makesBeside.FindStringSubmatch(s.code)
	switch {
	case name != nil && !l.patient:
		return "gives up beside a reader: SET lock_timeout = 0 before it"
	case name != nil && !l.dropped[bare(name[1])]:
		return "takes what was begun and not finished for made: drop it before"
	case name != nil, validates.MatchString(s.code) && !l.patient:
		return ""
	case waits.MatchString(s.code):
		l.patient = true
		return ""
	}
	if why := l.together(s); why != "" {
		return why
	}
	return "stands in a file without a transaction, where what was done stays when the next statement fails"
}

// bare is a name without quotes.
func bare(name string) string { return strings.Trim(name, `"`) }

// locks finds what a migration may hold tables for.
func locks(content string) (faults []string) {
	l := lint{apart: alone.MatchString(content), own: make(map[string]bool), dropped: make(map[string]bool)}
	for _, s := range parseStatements(content) {
		if why := l.fault(s); why != "" {
			faults = append(faults, fmt.Sprintf("%s: %s %s", why, s.whole, s.body))
		}
	}
	if strings.Contains(strings.ToUpper(content), "+GOOSE ENVSUB") {
		faults = append(faults, "takes its text from the environment, where nobody reads it: ENVSUB")
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
	const (
		apart  = "-- +goose NO TRANSACTION\n"
		add    = "ALTER TABLE conversation ADD COLUMN k text;\n"
		begin  = "-- +goose StatementBegin\n"
		end    = "\n-- +goose StatementEnd\n"
		fill   = begin + "CREATE FUNCTION fill() RETURNS int LANGUAGE sql AS $$ UPDATE conversation SET k = 'x'; SELECT 1 $$;" + end
		wait   = "SET lock_timeout = 0;\n"
		drop   = begin + "DO $$\nBEGIN\n\tIF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('i') AND NOT indisvalid) THEN\n\t\tDROP INDEX i;\n\tEND IF;\nEND $$;" + end
		create = "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON conversation (theme);\n"
		rule   = "ALTER TABLE conversation ADD CONSTRAINT c CHECK (answer_days >= 0) NOT VALID;\n"
	)
	for _, good := range []string{
		"CREATE TABLE a (id int);\nCREATE INDEX i ON a (id);\nINSERT INTO a (id) VALUES (1), (2);\nALTER TABLE a ADD CHECK (id > 0), ADD COLUMN b uuid DEFAULT gen_random_uuid(), ALTER COLUMN id SET NOT NULL;\n",
		"CREATE TABLE public.\"a\" (id int REFERENCES conversation);\nCREATE UNIQUE INDEX i ON A (id);\nCOMMENT ON TABLE a IS 'UPDATE; it''s';\n",
		"CREATE TABLE a (id int) PARTITION BY RANGE (id);\nCREATE TABLE b PARTITION OF a DEFAULT;\nCREATE TABLE c PARTITION OF a FOR VALUES FROM (1) TO (2);\nCREATE INDEX i ON b (id);\n",
		"CREATE TABLE IF NOT EXISTS a (id int) WITH (fillfactor = 70);\nCREATE UNLOGGED TABLE u (id int);\nCREATE INDEX j ON u (id);\nCREATE SEQUENCE s;\nALTER SEQUENCE s OWNED BY a.id;\nCREATE VIEW v AS SELECT * FROM a;\n",
		"ALTER TABLE a ADD COLUMN b text, ADD COLUMN IF NOT EXISTS c numeric(10, 2) NOT NULL DEFAULT -1.5, ADD COLUMN d jsonb DEFAULT '{}'::jsonb NOT NULL, ADD COLUMN e timestamptz DEFAULT now(), ADD COLUMN f text[];\n",
		"ALTER TABLE a ALTER COLUMN b SET DEFAULT gen_random_uuid(), ALTER c DROP NOT NULL, SET (fillfactor = 70), RENAME COLUMN d TO e;\n",
		"ALTER TABLE a DROP CONSTRAINT IF EXISTS c, DROP COLUMN b;\nDROP TABLE b, c;\nDROP TRIGGER t ON a;\nDROP FUNCTION f(int);\n",
		"ALTER TABLE a ADD CONSTRAINT c CHECK (b IN ('x', 'y')) NOT VALID, ADD CONSTRAINT \"my check\" FOREIGN KEY (b) REFERENCES b (id) ON DELETE CASCADE NOT VALID, ADD CONSTRAINT u UNIQUE USING INDEX i;\n",
		"INSERT INTO a (id) VALUES (1) ON CONFLICT DO NOTHING;\n",
		"-- UPDATE a SET b = 1;\n/* DELETE FROM a; */ ALTER TABLE a ADD COLUMN b text; -- DROP INDEX i;\n",
		add + "-- +goose Down\nUPDATE a SET b = 1;\n",
		fill + "CREATE TRIGGER t AFTER INSERT ON conversation FOR EACH ROW EXECUTE FUNCTION fill();\nCREATE OR REPLACE FUNCTION g() RETURNS int LANGUAGE sql RETURN 1;\n",
		begin + "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_class WHERE oid = 'a'::regclass) THEN RAISE EXCEPTION 'no a'; END IF; END $$;" + end,
		apart + drop + wait + create,
		apart + drop + "SET lock_timeout TO 0;\nCREATE UNIQUE INDEX CONCURRENTLY i ON public.conversation USING btree (theme) WHERE unread;\nDROP INDEX CONCURRENTLY IF EXISTS j;\n",
		apart + wait + "DROP INDEX CONCURRENTLY IF EXISTS i;\n" + create,
		apart + "ALTER TABLE conversation VALIDATE CONSTRAINT c;\nALTER TABLE conversation VALIDATE CONSTRAINT d;\n" + drop + wait + create,
	} {
		if got := locks("-- +goose Up\n" + good); len(got) != 0 {
			t.Errorf("%q: %v, want no fault", good, got)
		}
	}
	for _, bad := range []string{
		// Rows.
		"UPDATE a SET b = 1;\n", "update a\nset b = 1;\n", "DELETE FROM a;\n", "TRUNCATE a;\n", "MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE;\n",
		"WITH x AS (SELECT 1) UPDATE a SET b = 1;\n", "INSERT INTO a SELECT * FROM b;\n", "INSERT INTO a TABLE b;\n", "COPY a FROM '/tmp/x';\n",
		"INSERT INTO a VALUES (fill());\n", "INSERT INTO a VALUES ((SELECT count(*) FROM b));\n", "INSERT INTO a VALUES (1) ON CONFLICT (id) DO UPDATE SET b = 1;\n",
		"/* fill it */ UPDATE conversation SET k = 'x';\n", "/* /* */ ' */ UPDATE conversation SET k = 'x'; -- '\n",
		"COMMENT ON TABLE a IS E'\\'; UPDATE conversation SET k = $$x$$; --';\nUPDATE conversation SET k = 'x';\n",
		"COMMENT ON TABLE a IS '\n-- +goose Down?';\nUPDATE conversation SET k = 'x';\n",
		// Names that are not the file's own.
		"CREATE TABLE b (id int);\nINSERT INTO a SELECT * FROM b;\n",
		"CREATE TABLE public.scratch (id int);\nUPDATE public.conversation SET k = 'x';\n",
		"CREATE TABLE other.conversation (id int);\nCREATE INDEX i ON conversation (theme);\n",
		"CREATE TABLE b (id int);\nWITH x AS (SELECT 1 FROM message JOIN b ON b.id = 1) UPDATE conversation SET k = 'x';\n",
		"CREATE TABLE IF NOT EXISTS conversation (id uuid);\nUPDATE conversation SET k = 'x';\n",
		"CREATE TABLE IF NOT EXISTS conversation (id uuid);\nCREATE INDEX i ON conversation (theme);\n",
		"CREATE TABLE b (id int);\nALTER TABLE b RENAME TO c;\nALTER TABLE conversation RENAME TO b;\nCREATE INDEX i ON b (theme);\n",
		"CREATE TABLE b (id int);\nALTER TABLE b ATTACH PARTITION conversation DEFAULT;\n",
		"CREATE TEMP TABLE conversation (id int);\nCREATE INDEX i ON public.conversation (theme);\n",
		// More than one statement on a line.
		"CREATE TABLE scratch (id int); UPDATE conversation SET k = 'x';\n",
		"ALTER TABLE conversation ADD COLUMN k text; UPDATE conversation SET k = 'x';\n",
		apart + "ALTER TABLE a VALIDATE CONSTRAINT c; ALTER TABLE a VALIDATE CONSTRAINT d;\n",
		apart + begin + "ALTER TABLE a VALIDATE CONSTRAINT c;\nALTER TABLE a VALIDATE CONSTRAINT d;" + end,
		// What is copied or read while a table is locked.
		add + "CREATE TABLE t AS SELECT caisse, count(*) FROM conversation GROUP BY 1;\n", add + "CREATE TABLE t (a, b) AS TABLE conversation;\n",
		add + "CREATE MATERIALIZED VIEW t AS SELECT caisse, count(*) FROM conversation GROUP BY 1;\n", "REFRESH MATERIALIZED VIEW t;\n",
		add + "SELECT setval('s', (SELECT count(*) FROM message));\n",
		"ALTER TABLE event_log ATTACH PARTITION old_log FOR VALUES FROM ('2020-01-01') TO ('2026-01-01');\n",
		"CREATE TABLE day PARTITION OF event_log FOR VALUES FROM ('2020-01-01') TO ('2020-01-02');\n", "CREATE TABLE b () INHERITS (a);\n",
		// Programs.
		fill + "SELECT fill();\n", "CALL fill();\n", fill + "INSERT INTO conversation (k) VALUES ('x');\n",
		"CREATE TABLE b (id int);\nINSERT INTO b VALUES (1);\n" + fill + "ALTER TABLE b ADD COLUMN c int DEFAULT fill();\n",
		begin + "DO $$ BEGIN UPDATE a SET b = 1; END $$;" + end, apart + begin + "DO $$ BEGIN DELETE FROM a; END $$;" + end,
		"DO LANGUAGE plpgsql $$ BEGIN UPDATE conversation SET k = 'x'; END $$;\n", "DO 'BEGIN UPDATE conversation SET k = 1; END';\n",
		"DO $$ BEGIN IF to_regclass('i') IS NULL THEN CREATE INDEX i ON conversation (theme); END IF; END $$;\n",
		"DO $$ BEGIN CREATE UNIQUE INDEX i ON conversation (theme); END $$;\n", apart + "DO $a$ BEGIN CREATE INDEX i ON conversation (theme); END $a$;\n",
		"DO $$ BEGIN DROP INDEX conversation_queue; END $$;\n", "DO $$ BEGIN PERFORM fill(); END $$;\n", apart + "DO $$ BEGIN PERFORM fill(); END $$;\n",
		"DO $$ BEGIN EXECUTE 'CREATE INDEX i ON conversation (theme)'; END $$;\n", drop,
		"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_class WHERE fill() = 1) THEN RAISE EXCEPTION 'no'; END IF; END $$;\n",
		"CREATE RULE r AS ON UPDATE TO conversation DO INSTEAD NOTHING;\n", "-- +goose ENVSUB ON\nCREATE TABLE b (id $TYPE);\n",
		// Indexes.
		"CREATE INDEX i ON a (b);\n", "CREATE UNIQUE INDEX IF NOT EXISTS i ON a (b);\n", "CREATE INDEX CONCURRENTLY i ON a (b);\n", "DROP INDEX i;\n", "DROP INDEX CONCURRENTLY IF EXISTS i;\n",
		"CREATE INDEX \"concurrently\" ON conversation (theme);\n", apart + "CREATE INDEX i ON conversation (theme);\n", apart + "DROP INDEX CONCURRENTLY i;\n",
		apart + wait + create, apart + drop + create, apart + wait + drop + create, apart + drop + create + wait,
		apart + wait + "CREATE INDEX CONCURRENTLY i ON conversation (theme);\n", apart + drop + wait + strings.Replace(create, " i ", " j ", 1),
		apart + strings.Replace(drop, "DROP INDEX i", "DROP INDEX j", 1) + wait + create,
		apart + "-- i\nSELECT 1;\n" + wait + create,
		// Settings and transactions.
		wait + add, "SET lock_timeout = '1h';\n" + add, "SET LOCAL lock_timeout TO DEFAULT;\n" + add, "RESET lock_timeout;\n" + add, "RESET ALL;\n", "SET search_path = other;\n",
		apart + "SET lock_timeout = '1h';\n", apart + wait + add, apart + wait + "ALTER TABLE conversation VALIDATE CONSTRAINT c;\n", apart + add, apart + rule, apart + "CREATE TABLE b (id int);\n",
		"BEGIN;\n" + add + "COMMIT;\n", "ALTER SYSTEM SET lock_timeout = 0;\n",
		// Constraints.
		"ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0);\n", "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES c;\n", "ALTER TABLE ONLY conversation ADD CHECK (answer_days > 0);\n",
		rule + "ALTER TABLE conversation VALIDATE CONSTRAINT c;\n",
		"ALTER TABLE conversation ADD CONSTRAINT c CHECK (answer_days >= 0) NOT VALID, VALIDATE CONSTRAINT d;\n",
		"ALTER TABLE conversation ADD CHECK (answer_days >= 0), ADD COLUMN k uuid;\n", "ALTER TABLE conversation ADD CONSTRAINT \"my check\" CHECK (answer_days > 0);\n",
		"ALTER TABLE conversation ADD CONSTRAINT c NOT NULL caisse;\n", "ALTER TABLE a ALTER COLUMN b SET NOT NULL;\n", "ALTER TABLE a ADD PRIMARY KEY USING INDEX i;\n",
		"ALTER TABLE message DROP CONSTRAINT message_pkey, ADD PRIMARY KEY (conversation_id, id), ALTER COLUMN body SET STORAGE EXTERNAL, ADD COLUMN e uuid;\n",
		// Columns.
		"ALTER TABLE a ADD COLUMN b text CHECK (b <> '');\n", "ALTER TABLE a ADD COLUMN b int REFERENCES c;\n", "ALTER TABLE a ADD COLUMN b int UNIQUE;\n",
		"ALTER TABLE conversation ADD k int CHECK (k > 0);\n", "ALTER TABLE conversation ADD k int REFERENCES note;\n", "ALTER TABLE conversation ADD k uuid DEFAULT gen_random_uuid();\n",
		"ALTER TABLE conversation ADD COLUMN k numeric(10, 2) CHECK (k > 0);\n", "ALTER TABLE conversation ADD COLUMN k float DEFAULT (random());\n",
		"ALTER TABLE a ADD COLUMN b uuid DEFAULT gen_random_uuid();\n", "ALTER TABLE conversation ADD COLUMN k uuid DEFAULT uuid_generate_v4();\n", "ALTER TABLE a ADD COLUMN b bigint DEFAULT nextval('s');\n",
		"ALTER TABLE conversation ADD COLUMN IF NOT EXISTS k smallserial;\n", "ALTER TABLE conversation ADD COLUMN k serial8;\n", "ALTER TABLE conversation ADD COLUMN k positive;\n",
		"ALTER TABLE conversation ADD COLUMN k int GENERATED ALWAYS AS IDENTITY;\n", "ALTER TABLE conversation ADD COLUMN k int NOT NULL;\n", "ALTER TABLE conversation ADD COLUMN k int NOT NULL DEFAULT NULL;\n",
		"ALTER TABLE conversation DROP COLUMN unread, ADD COLUMN unread boolean GENERATED ALWAYS AS (true) STORED;\n",
		"ALTER TABLE a ALTER COLUMN b TYPE bigint;\n", "ALTER TABLE conversation ALTER \"queue\" TYPE varchar(80);\n", "ALTER TABLE conversation ALTER COLUMN created_at SET DATA TYPE timestamp;\n",
		// Whole tables.
		"LOCK TABLE a;\n", "CLUSTER a USING i;\n", "VACUUM FULL a;\n", "REINDEX TABLE a;\n", "DROP TABLE message CASCADE;\n", "ALTER TABLE message DROP COLUMN body CASCADE;\n",
		"ALTER TABLE conversation SET ACCESS METHOD heap2;\n", "ALTER TABLE a SET TABLESPACE b;\n", "ALTER TABLE a SET LOGGED;\n", "ALTER TABLE message DISABLE TRIGGER ALL;\n",
	} {
		if got := locks("-- +goose Up\n" + bad); len(got) == 0 {
			t.Errorf("%q: want a fault", bad)
		}
	}
}
