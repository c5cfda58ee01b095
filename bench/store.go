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

	"github.com/ma-messagerie/messagerie/bench/internal/cpu"
	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging"
)

// The references write the same rows to the same tables as a submission does,
// with texts of the same size. They are spared what a real writer has: their
// texts are constants, which need no encryption and do not cross the socket.
const (
	conversationInsert = `INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version,
	theme, theme_label, topic, topic_label, reason, reason_label, queue, queue_label, answer_days, key_id)
	VALUES (gen_random_uuid(), 'organisation:6ba7b811-9dad-11d1-80b4-00c04fd430c8', gen_random_uuid(), 'MSA-' || :n::text, 'msa-75', 1, 1,
	'sante', 'Santé', 'remboursement', 'Mes remboursements', 'attente', 'Un remboursement que j''attends', 'sante-prestations', 'Service santé, prestations', 5, '6ba7b810-9dad-11d1-80b4-00c04fd430c8')
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

// Sizes in bytes, as the service's: 300 characters sealed, and the event.
const (
	bodyBytes    = 335
	payloadBytes = 180
)

// template is the database with the service's schema, copied for each run so that
// both sides begin with empty tables.
const template = "bench_template"

// pgbench is a side: the transactions per second of a script, those of the number
// of clients that makes most of them, each on a fresh copy of the schema.
func (r *rig) pgbench(ctx context.Context, title, script string) []*side {
	return one(title, func() (measurement, error) {
		filled := strings.NewReplacer("{body}", strings.Repeat("5a", bodyBytes),
			"{payload}", strings.Repeat("5a", payloadBytes), "\n\t", " ").Replace(script)
		// pgbench ends an SQL statement at its semicolon, and a query with \gset.
		path := filepath.Join(r.dir, "script.sql")
		if err := os.WriteFile(path, []byte(filled), 0o600); err != nil {
			return measurement{}, err
		}
		var best measurement
		for _, clients := range r.size.clients {
			m, err := r.pgbenchOf(ctx, title, path, clients)
			if err != nil {
				return measurement{}, err
			}
			if best.figures == nil || m.figures[submissions] > best.figures[submissions] {
				best = m
			}
		}
		return best, nil
	})
}

// pgbenchOf measures with so many clients.
//
// A session's first transaction takes some 60 ms of processor time, as it reads the
// catalogue of all the tables: with 64 sessions on two processors that is two
// seconds. What a run of one transaction each takes is taken off the costs.
func (r *rig) pgbenchOf(ctx context.Context, title, script string, clients int) (measurement, error) {
	first, err := r.once(fmt.Sprint(title, clients), func() (cpu.Spending, error) {
		return r.typical(func() (cpu.Spending, error) {
			_, spent, err := r.runPgbench(ctx, script, clients, "-t", "1")
			return spent, err
		})
	})
	if err != nil {
		return measurement{}, err
	}
	r.settle(ctx)
	got, spent, err := r.runPgbench(ctx, script, clients, r.size.pgbench...)
	return measurement{map[string]float64{submissions: got.tps}, spent.Since(first).Each(got.transactions - clients)}, err
}

func (r *rig) runPgbench(ctx context.Context, script string, clients int, length ...string) (pgbenched, cpu.Spending, error) {
	bin, err := localpg.Find()
	if err != nil {
		return pgbenched{}, nil, err
	}
	url, drop, err := r.schema(ctx)
	if err != nil {
		return pgbenched{}, nil, err
	}
	defer drop()
	args := append([]string{"-n", "-M", "prepared", "-f", script, "-c", strconv.Itoa(clients), "-j", "2"}, length...)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "pgbench"), append(args, url)...) //nolint:gosec // a folder of the system
	var out []byte
	spent, err := cpu.Meters{r.postgres()}.Around(func() error {
		var err error
		if out, err = cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("running pgbench: %w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		return pgbenched{}, nil, err
	}
	got, err := parsePgbench(string(out))
	return got, append(spent, cpu.Part{Who: inPgbench, Time: cpu.Ended(cmd)}), err
}

// pgbenched is what pgbench says of a run.
type pgbenched struct {
	tps          float64
	transactions int
}

var (
	tpsLine      = regexp.MustCompile(`(?m)^tps = ([0-9.]+) `)
	doneLine     = regexp.MustCompile(`(?m)^number of transactions actually processed: ([0-9]+)`)
	progressLine = regexp.MustCompile(`(?m)^progress: [0-9.]+ s, ([0-9.]+) tps`)
)

// parsePgbench reads pgbench's account. Where it has told its progress, the rate is
// that of the second half, when all sessions are warm, as ours are.
func parsePgbench(out string) (pgbenched, error) {
	rate, done := tpsLine.FindStringSubmatch(out), doneLine.FindStringSubmatch(out)
	if rate == nil || done == nil || strings.Contains(out, "aborted") {
		return pgbenched{}, fmt.Errorf("pgbench gives no account: %s", out)
	}
	transactions, err := strconv.Atoi(done[1])
	if err != nil {
		return pgbenched{}, err
	}
	rates := [][]string{rate}
	if told := progressLine.FindAllStringSubmatch(out, -1); len(told) > 0 {
		rates = told[len(told)/2:]
	}
	sum := 0.0
	for _, one := range rates {
		tps, err := strconv.ParseFloat(one[1], 64)
		if err != nil {
			return pgbenched{}, err
		}
		sum += tps
	}
	return pgbenched{sum / float64(len(rates)), transactions}, nil
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
	ours := r.benchSides(ctx, benchmark{service: "messaging", name: "BenchmarkStore", count: r.size.stored, who: "messaging", database: true})
	tx, cte := r.pgbench(ctx, "pgbench, a transaction each", perStatement), r.pgbench(ctx, "pgbench, a statement each", inOne)
	err := r.rounds(ctx, tx, ours, cte)
	const what = "store alone, 64 callers"
	return withOlder(ours, []row{
		{what: what, figure: submissions, reference: tx[0], goal: 3.5},
		{what: what, figure: submissions, reference: cte[0], goal: 1.8},
	}), err
}
