package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging"
)

// The references write the same rows to the same tables as a submission does,
// with texts of the same size. They are spared what a real writer has: their
// texts are constants, which need no encryption and do not cross the socket.
const (
	conversationInsert = `INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version,
	theme, theme_label, topic, topic_label, reason, reason_label, queue, queue_label, answer_days, data_key)
	VALUES (gen_random_uuid(), 'organisation:6ba7b811-9dad-11d1-80b4-00c04fd430c8', gen_random_uuid(), 'MSA-' || :n::text, 'msa-75', 1, 1,
	'sante', 'Santé', 'remboursement', 'Mes remboursements', 'attente', 'Un remboursement que j''attends', 'sante-prestations', 'Service santé, prestations', 5, '\x{key}')
	ON CONFLICT (member_id, idempotency_key) DO NOTHING RETURNING id AS conversation`
	messageInsert = `INSERT INTO message (id, conversation_id, author, body, body_chars)`
	logInsert     = `INSERT INTO event_log (id, type, caisse, conversation_id, payload)`
	outboxInsert  = `INSERT INTO outbox (id, type, caisse, conversation_id, payload, trace)`

	perStatement = `\set n random(1, 9000000000000000000)
BEGIN;
` + conversationInsert + ` \gset
` + messageInsert + ` VALUES (gen_random_uuid(), :conversation, 1, '\x{body}', 300);
` + logInsert + ` VALUES (gen_random_uuid(), 'message-submitted', 'msa-75', :conversation, '\x{payload}') RETURNING id AS event \gset
` + outboxInsert + ` VALUES (:event, 'message-submitted', 'msa-75', :conversation, '\x{payload}', '');
COMMIT;
`
	inOne = `\set n random(1, 9000000000000000000)
WITH opened AS (` + conversationInsert + `),
written AS (` + messageInsert + ` SELECT gen_random_uuid(), conversation, 1, '\x{body}', 300 FROM opened),
logged AS (` + logInsert + ` SELECT gen_random_uuid(), 'message-submitted', 'msa-75', conversation, '\x{payload}' FROM opened RETURNING id, conversation_id)
` + outboxInsert + ` SELECT id, 'message-submitted', 'msa-75', conversation_id, '\x{payload}', '' FROM logged;
`
)

// Sizes in bytes, as the service's: a wrapped AES-256 key, 300 characters sealed,
// and the event.
const (
	keyBytes     = 65
	bodyBytes    = 335
	payloadBytes = 180
)

// pgbenchSeconds is the length of one measurement.
const pgbenchSeconds = 3

// template is the database with the service's schema, copied for each run so that
// both sides begin with empty tables.
const template = "bench_template"

// pgbench returns the transactions per second of a script, the best of 32 and 64
// clients, each on a fresh copy of the schema.
func (r *rig) pgbench(ctx context.Context, script string) (float64, error) {
	filled := strings.NewReplacer("{key}", strings.Repeat("5a", keyBytes), "{body}", strings.Repeat("5a", bodyBytes),
		"{payload}", strings.Repeat("5a", payloadBytes), "\n\t", " ").Replace(script)
	// pgbench ends an SQL statement at its semicolon, and a query with \gset.
	path := filepath.Join(r.dir, "script.sql")
	if err := os.WriteFile(path, []byte(filled), 0o600); err != nil {
		return 0, err
	}
	best := 0.0
	for _, clients := range []int{32, 64} {
		tps, err := r.pgbenchOnce(ctx, path, clients)
		if err != nil {
			return 0, err
		}
		best = max(best, tps)
	}
	return best, nil
}

var tpsLine = regexp.MustCompile(`tps = ([0-9.]+) `)

func (r *rig) pgbenchOnce(ctx context.Context, script string, clients int) (float64, error) {
	bin, err := localpg.Find()
	if err != nil {
		return 0, err
	}
	url, drop, err := r.schema(ctx)
	if err != nil {
		return 0, err
	}
	defer drop()
	r.settle(ctx)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "pgbench"), "-n", "-M", "prepared", "-f", script, //nolint:gosec // a folder of the system
		"-c", strconv.Itoa(clients), "-j", "2", "-T", strconv.Itoa(pgbenchSeconds), url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("running pgbench: %w: %s", err, out)
	}
	found := tpsLine.FindSubmatch(out)
	if found == nil || strings.Contains(string(out), "aborted") {
		return 0, fmt.Errorf("running pgbench: %s", out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// schema returns a fresh copy of the messaging service's database, and what
// removes it.
func (r *rig) schema(ctx context.Context) (string, func(), error) {
	if !r.migrated {
		if err := r.cluster.CreateDatabase(ctx, template); err != nil {
			return "", nil, err
		}
		if err := postgres.Migrate(ctx, r.cluster.URL(template), messaging.Migrations); err != nil {
			return "", nil, err
		}
		r.migrated = true
	}
	name := fmt.Sprintf("bench_%d", r.databases)
	r.databases++
	err := r.admin(ctx, `CREATE DATABASE `+name+` TEMPLATE `+template)
	return r.cluster.URL(name), func() { _ = r.admin(context.WithoutCancel(ctx), `DROP DATABASE `+name+` WITH (FORCE)`) }, err
}

// admin runs one statement beside the measured databases.
func (r *rig) admin(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, r.cluster.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

// measureStore: the store alone, 64 callers, against one transaction of
// statements, and against one statement, for each submission.
func measureStore(ctx context.Context, r *rig) ([]row, error) {
	var ours, tx, cte sample
	err := r.rounds(ctx,
		side{&tx, func() (float64, error) { return r.pgbench(ctx, perStatement) }},
		side{&ours, func() (float64, error) {
			got, err := r.goBench(ctx, "messaging", "BenchmarkStore", "60000x")
			return got["submissions/s"], err
		}},
		side{&cte, func() (float64, error) { return r.pgbench(ctx, inOne) }},
	)
	return []row{
		{what: "store alone, 64 callers", unit: "submissions/s", ours: ours, against: "pgbench, a transaction each", reference: tx, goal: 3.5},
		{what: "store alone, 64 callers", unit: "submissions/s", ours: ours, against: "pgbench, a statement each", reference: cte, goal: 1.8},
	}, err
}
