package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

var (
	viewRows = flag.Int("views", 20_000, "conversations among which TestViews_Time lists; 5000000 for figures, 4 GB")
	viewsDB  = flag.String("views-db", "", "a database that was filled before, for TestViews_Time")
)

// viewsSQL makes conversations of the last three years in four caisses, of which one has three in
// five: 149 reasons of 43 topics, some much more frequent than others, three profiles, ten
// queues, and one in fifty was given to another. One in 25 waits; of twelve in a hundred of
// those, half are held by 300 agents and a machine, and half were.
const viewsSQL = `
	INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, topic, reason, queue, queue_label,
		answer_days, status, last_reply_id, first_reply_at, claimed_by, claimed_name, claim_expires, waits_since, created_at, updated_at)
	SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
		'member:' || n / 20, gen_random_uuid(), 'VIEW-' || n, caisse, audience, 1,
		'theme-' || r % 9, 'T', 'topic-' || r % 43, 'reason-' || r, 'queue-' || CASE WHEN transferred THEN (r + n % 10) % 10 ELSE r % 10 END, 'F',
		5, status, CASE WHEN status IN (3, 4, 5, 6) THEN gen_random_uuid() END, CASE WHEN status IN (3, 4, 5, 6) THEN at + age * 0.3 END,
		CASE WHEN status = 2 THEN CASE WHEN n % 16 = 0 THEN 'crm' ELSE 'agent:' || n % 301 END END, CASE WHEN status = 2 THEN 'Claire' END,
		CASE WHEN status = 2 THEN now() + (random() - 0.5) * interval '2 days' END,
		CASE WHEN status = 6 THEN at + age * 0.7 END, at, CASE WHEN status = 1 THEN at ELSE at + age * 0.9 END
	FROM generate_series(1, $1::integer) n,
	LATERAL (SELECT random() + n * 0 AS a, random() + n * 0 AS b, random() + n * 0 AS c, random() + n * 0 AS d, random() + n * 0 AS e, random() + n * 0 AS f) AS drawn,
	LATERAL (SELECT a < 0.04 AS waits, floor(149 * b ^ 1.5)::integer AS r, (ARRAY['msa-35', 'msa-35', 'msa-35', 'msa-35', 'msa-35', 'msa-35', 'msa-44', 'msa-49', 'msa-72', 'msa-72'])[1 + floor(c * 10)::integer] AS caisse,
		CASE WHEN d < 0.6 THEN 1 WHEN d < 0.85 THEN 2 ELSE 3 END AS audience, d * 50 - floor(d * 50) < 0.02 AS transferred) AS of,
	LATERAL (SELECT CASE WHEN waits THEN CASE WHEN e < 0.75 THEN 1 WHEN e < 0.87 THEN 2 WHEN e < 0.95 THEN 3 ELSE 6 END WHEN e < 0.7 THEN 4 WHEN e < 0.75 THEN 5 ELSE 7 END AS status,
		now() - CASE WHEN waits THEN interval '30 days' ELSE interval '3 years' END * f AS at) AS has,
	LATERAL (SELECT least(now() - at, interval '20 days') AS age) AS lived`

// manyRows is from where on no view may read all conversations: of few, that is the shortest way.
const manyRows = 1_000_000

// filled is a database with conversations, whose secondary indexes are made when they are there.
func filled(t *testing.T) *pgxpool.Pool {
	t.Helper()
	if *viewsDB != "" {
		return messagingtest.Open(t, *viewsDB)
	}
	url := testenv.Postgres(t, migrations.Files)
	pool := messagingtest.Open(t, url+"&statement_timeout=0")
	run := func(sql string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	indexes, err := postgres.Many[string](t.Context(), pool, "listing indexes", `SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'conversation'::regclass AND NOT indisunique`)
	if err != nil {
		t.Fatal(err)
	}
	run(`ALTER TABLE conversation DISABLE TRIGGER USER`)
	for _, index := range indexes {
		run(`DROP INDEX ` + strings.Fields(index)[2])
	}
	run(viewsSQL, *viewRows)
	for _, index := range indexes {
		run(index)
	}
	run(`ALTER TABLE conversation ENABLE TRIGGER USER`)
	run(`INSERT INTO conversation_kind SELECT DISTINCT caisse, queue, theme, topic, reason, audience FROM conversation`)
	run(`VACUUM (ANALYZE)`)
	run(`CHECKPOINT`)
	return messagingtest.Open(t, url)
}

// step is a step of a plan.
type step struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Hit      int     `json:"Shared Hit Blocks"`
	Read     int     `json:"Shared Read Blocks"`
	Plans    []step
}

// worst returns how many rows were sorted at most, and whether all conversations were read.
func (s step) worst() (sorted int, whole bool) {
	whole = s.Type == "Seq Scan" && s.Relation == "conversation"
	for _, below := range s.Plans {
		if strings.Contains(s.Type, "Sort") {
			sorted = int(below.Rows * below.Loops)
		}
		n, all := below.worst()
		sorted, whole = max(sorted, n), whole || all
	}
	return sorted, whole
}

// TestViews_Time prints how long every view takes among as many conversations as -views says.
// The figures are of a machine at a moment: what fails is a view that reads all conversations.
func TestViews_Time(t *testing.T) {
	t.Parallel()
	conn, err := filled(t).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	db := conn.Conn()
	// The processor time of the server's process, where it runs on this machine: other load
	// does not count.
	used := func() (spent time.Duration) {
		content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", db.PgConn().PID()))
		_, _ = fmt.Sscan(string(content), &spent)
		return spent
	}
	type measured struct {
		name                                            string
		inSQL, leastInSQL, median, least, slowest, busy time.Duration
		pages, sorted, n                                int
	}
	views := namedViews()
	byName := make(map[string]*measured)
	executed := make(map[string][]time.Duration)
	// In rounds, so that a moment in which the machine is busy is not all that is seen of a view.
	for range 3 {
		for name, v := range views {
			if byName[name] == nil {
				byName[name] = &measured{name: name}
			}
			m := byName[name]
			var times []time.Duration
			before := used()
			for range 7 {
				begun := time.Now()
				rows, err := list(t.Context(), db, v)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				times, m.n = append(times, time.Since(begun)), len(rows)
			}
			m.busy = (used() - before) / 7
			slices.Sort(times)
			m.least, m.median, m.slowest = times[0], times[len(times)/2], times[len(times)-1]
			plan, took := explain(t.Context(), t, db, v)
			executed[name] = append(executed[name], took...)
			var whole bool
			m.sorted, whole = plan.worst()
			m.pages = plan.Hit + plan.Read
			if whole && (*viewRows >= manyRows || *viewsDB != "") {
				t.Errorf("%s reads all conversations", name)
			}
		}
	}
	var all []measured
	for name, m := range byName {
		took := slices.Sorted(slices.Values(executed[name]))
		m.inSQL, m.leastInSQL = took[len(took)/2], took[0]
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b measured) int { return cmp.Or(cmp.Compare(b.inSQL, a.inSQL), cmp.Compare(a.name, b.name)) })
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "view\tms in SQL: median\tleast\tof processor, planned\twith the round trip: median\tleast\tslowest\tpages\trows sorted\trows")
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for _, m := range all {
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t%d\t%d\n", m.name, ms(m.inSQL), ms(m.leastInSQL), ms(m.busy), ms(m.median), ms(m.least), ms(m.slowest), m.pages, m.sorted, m.n)
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d views\n%s", len(all), out.String())
}

// explain returns the plan of a view, and the times of its executions.
func explain(ctx context.Context, t *testing.T, db postgres.Querier, v view) (plan step, took []time.Duration) {
	t.Helper()
	sql, args := v.statement()
	for range 5 {
		text, err := postgres.One[string](ctx, db, "explaining", `EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) `+sql, args)
		var plans []struct {
			Plan step
			Time float64 `json:"Execution Time"`
		}
		if err == nil {
			err = json.Unmarshal([]byte(text), &plans)
		}
		if err != nil {
			t.Fatal(err)
		}
		plan, took = plans[0].Plan, append(took, time.Duration(plans[0].Time*float64(time.Millisecond)))
	}
	return plan, took
}

// namedViews are each filter and two of them, in each order, of all queues and of two, first
// pages and others.
func namedViews() map[string]view {
	type named struct {
		name  string
		apply func(*view)
	}
	number := func(list []messagingpb.Status) (numbers []int16) {
		for _, status := range list {
			numbers = append(numbers, int16(status))
		}
		return numbers
	}
	now := time.Now()
	filters := []named{
		{"", func(*view) {}},
		{"mine ", func(v *view) { v.heldBy = "agent:7" }},
		{"machine's ", func(v *view) { v.heldBy = "crm" }},
		{"unassigned ", func(v *view) { v.unassigned = true }},
		{"queue ", func(v *view) { v.queue = "queue-3" }},
		{"theme ", func(v *view) { v.theme = "theme-1" }},
		{"rare theme ", func(v *view) { v.theme = "theme-8" }},
		{"topic ", func(v *view) { v.topic = "topic-3" }},
		{"reason ", func(v *view) { v.reason = "reason-3" }},
		{"rare reason ", func(v *view) { v.reason = "reason-148" }},
		{"no such reason ", func(v *view) { v.reason = "reason-149" }},
		{"profile ", func(v *view) { v.audience = 3 }},
		{"reopened ", func(v *view) { v.statuses = []int16{6} }},
		{"in progress ", func(v *view) { v.statuses = []int16{2} }},
		{"closed ", func(v *view) { v.statuses = []int16{7} }},
		{"any status ", func(v *view) { v.statuses = number(lifecycle.Statuses) }},
	}
	orders := []named{
		{"oldest ", func(*view) {}},
		{"newest ", func(v *view) { v.order.newest = true }},
		{"changed ", func(v *view) { v.order = order{changed: true, newest: true} }},
		{"since an hour ", func(v *view) { at := now.Add(-time.Hour); v.order.changed, v.changedSince = true, &at }},
		{"since a year ", func(v *view) { at := now.AddDate(-1, 0, 0); v.order.changed, v.changedSince = true, &at }},
	}
	scopes := []named{
		{"", func(v *view) { v.scope.AllQueues = true }},
		{"of two queues ", func(v *view) { v.scope.Queues = []string{"queue-1", "queue-3"} }},
	}
	pages := []named{
		{"", func(*view) {}},
		{"further page", func(v *view) {
			v.after = &page.Key{At: now.AddDate(0, 0, -15)}
			if len(v.statuses) > 4 || v.statuses[0] == 7 {
				v.after.At = now.AddDate(0, -6, 0)
			}
			if v.changedSince != nil { // and so behind it
				v.after.At = v.changedSince.Add(time.Since(*v.changedSince) / 2)
			}
		}},
	}
	views := make(map[string]view)
	for i, one := range filters {
		for _, other := range append(filters[i+1:len(filters):len(filters)], filters[0]) {
			for _, order := range orders {
				for _, scope := range scopes {
					for _, page := range pages {
						v := view{scope: conversation.Scope{Caisse: "msa-35"}, statuses: number(lifecycle.WaitingStatuses), limit: 21}
						if order.name[0] == 'c' || order.name[0] == 's' {
							v.statuses = number(lifecycle.Statuses)
						}
						if other.name != "" && (scope.name != "" || page.name != "" || order.name != "oldest " && order.name != "changed ") {
							continue // two filters: the first pages of all queues
						}
						for _, n := range []named{one, other, order, scope, page} {
							n.apply(&v)
						}
						views[one.name+other.name+order.name+scope.name+page.name] = v
					}
				}
			}
		}
	}
	return views
}
