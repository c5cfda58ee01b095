// Package scale checks how much every statement of a service reads when its tables have
// grown. Only tests import it.
//
// A test names a row for each function that has statements. They are run on filled tables
// of one size and then of a hundred times as many rows (a tenth in the short form), and
// the plans are those of the real run: PostgreSQL's auto_explain sends them, those of
// triggers as well. A statement fails that reads a whole table, or whose pages grow with the
// tables, unless its row says why it must. Functions without a row fail, and so do
// statements that their row does not run.
//
// go test -run TestScale -v -scale 1000000 prints times as well, which are figures and
// not conditions: of a machine at a moment.
package scale

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

var size = flag.Int("scale", 20_000, "rows of the large tables in tests of plans; 1000000 for figures")

// within are statements of triggers and foreign keys, which no function of the service has.
var within = regexp.MustCompile(`^(SELECT 1 FROM ONLY|INSERT INTO \w+_change )`)

const (
	// rounds is how often a row is run at each size: more often than the five times after
	// which PostgreSQL may settle on a plan for all arguments.
	rounds = 9
	// slack is how many pages a statement may read beyond three times as many: for deeper
	// indexes, and a page more or less of each.
	slack = 60
	// few is how many rows a table may have that is read whole.
	few = 5_000
)

// Row runs statements as the service does.
type Row struct {
	// Of are the functions whose statements it runs; none for a further case of others.
	Of []string
	// Run runs them once. Each run must find the same work to do.
	Run func(ctx context.Context, n int) error
	// Reads says why it reads more when there is more.
	Reads string
	// Planless is how many of the functions' statements have no plan, or are for a case that
	// Run does not bring about.
	Planless int
}

// Tables is a database that can be filled.
type Tables struct {
	URL string
	// Fill makes rows from one number up to another.
	Fill func(ctx context.Context, pool *pgxpool.Pool, from, to int) error
	// Also is a further database that the same functions ask, if any. Fill and Rows find its
	// pool, whose plans are checked too, in what Opened was given before.
	Also   string
	Opened func(also *pgxpool.Pool)
	// Rows are all statements, over the pool whose plans are checked. What a row needs to
	// know beforehand it reads over aside.
	Rows func(pool, aside *pgxpool.Pool) []Row
}

// Test fails for every statement that reads more than it returns.
func (s Tables) Test(t *testing.T) {
	large := *size
	small := max(large/100, 2_000)
	aside, err := postgres.Open(t.Context(), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer aside.Close()
	if _, err := aside.Exec(t.Context(), `LOAD 'auto_explain'`); err != nil {
		testenv.Unavailable(t, fmt.Errorf("PostgreSQL has no auto_explain, or no superuser for it: %w", err))
	}
	listen := &listener{}
	pool, err := postgres.Open(t.Context(), s.URL, listen.in)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	pools := []*pgxpool.Pool{pool}
	if s.Also != "" {
		also, err := postgres.Open(t.Context(), s.Also, listen.in)
		if err != nil {
			t.Fatal(err)
		}
		defer also.Close()
		pools = append(pools, also)
		s.Opened(also)
	}
	rows := s.Rows(pool, aside)
	complete(t, rows)
	results := make([]map[string]*reading, 2)
	for i, n := range []int{small, large} {
		from := 0
		if i > 0 {
			from = small
		}
		listen.pause(true)
		if err := s.Fill(t.Context(), pool, from, n); err != nil {
			t.Fatal(err)
		}
		// Without a transaction of its own, VACUUM waits for nobody.
		for _, pool := range pools {
			if _, err := pool.Exec(t.Context(), `VACUUM (ANALYZE)`); err != nil {
				t.Fatal(err)
			}
		}
		listen.pause(false)
		results[i] = s.measure(t, rows, listen)
	}
	report(t, rows, results[0], results[1], small, large)
}

// reading is what a statement of a row read.
type reading struct {
	row    int
	query  string
	pages  []int
	times  []time.Duration
	wholes map[string]int // tables that were read whole, with their rows
	plan   string
}

func (s Tables) measure(t *testing.T, rows []Row, listen *listener) map[string]*reading {
	t.Helper()
	found := make(map[string]*reading)
	for i, row := range rows {
		for round := range rounds {
			listen.take()
			if err := row.Run(t.Context(), round); err != nil {
				t.Fatalf("%v: %v", row.Of, err)
			}
			for _, e := range listen.take() {
				key := fmt.Sprintf("%d %s", i, e.query)
				r := found[key]
				if r == nil {
					r = &reading{row: i, query: e.query, wholes: make(map[string]int)}
					found[key] = r
				}
				r.pages, r.times, r.plan = append(r.pages, e.plan.pages()), append(r.times, e.took), e.plan.String()
				e.plan.walk(func(n *node) {
					if n.Type == "Seq Scan" && n.looked() > 0 {
						r.wholes[n.Relation] = max(r.wholes[n.Relation], n.looked())
					}
				})
			}
		}
	}
	return found
}

// complete fails for functions that no row runs.
func complete(t *testing.T, rows []Row) {
	t.Helper()
	have, err := statements(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for _, name := range row.Of {
			if _, known := have[name]; !known {
				t.Errorf("a row names %s, which has no statement, or another row", name)
			}
			delete(have, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		t.Errorf("%s has %d statements and no row here: say how it is run, so that its plans are seen", name, have[name])
	}
}

// report prints a table and fails for what reads too much.
func report(t *testing.T, rows []Row, small, large map[string]*reading, from, to int) {
	t.Helper()
	have, err := statements(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]int, len(rows))
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(table, "statements of\tpages at %d\tat %d\tms at %d\tat %d\ttimes\tplan\n", from, to, from, to)
	for _, key := range slices.SortedFunc(maps.Keys(large), func(a, b string) int {
		return cmp.Or(cmp.Compare(large[a].row, large[b].row), cmp.Compare(a, b))
	}) {
		after, before := large[key], small[key]
		row := rows[after.row]
		if !within.MatchString(after.query) {
			seen[after.row]++
		}
		if before == nil {
			continue // nested in a plan that only the large tables have
		}
		pages, was := median(after.pages), median(before.pages)
		took, took0 := median(after.times), median(before.times)
		name := "(further)"
		if len(row.Of) > 0 {
			name = row.Of[0]
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%.3f\t%.3f\t%.1f\t%s\n", name, was, pages,
			float64(took0.Microseconds())/1000, float64(took.Microseconds())/1000, float64(took)/float64(max(took0, 1)), after.plan)
		if row.Reads != "" {
			continue
		}
		if pages > 3*was+slack {
			t.Errorf("%v reads %d pages of tables with %d rows, %d with %d:\n%s\n%s", row.Of, was, from, pages, to, after.query, after.plan)
		}
		for name, n := range after.wholes {
			if n > few {
				t.Errorf("%v reads all %d rows of %s:\n%s\n%s", row.Of, n, name, after.query, after.plan)
			}
		}
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		expected := -row.Planless
		for _, name := range row.Of {
			expected += have[name]
		}
		if seen[i] < expected {
			t.Errorf("%v have %d statements with plans, of which %d were run", row.Of, expected, seen[i])
		}
	}
	t.Logf("\n%s", out.String())
}

func median[T cmp.Ordered](list []T) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// explained is a plan that was run.
type explained struct {
	query string
	took  time.Duration
	plan  *node
}

// listener takes the plans that PostgreSQL sends.
type listener struct {
	mu     sync.Mutex
	paused bool
	heard  []explained
}

func (l *listener) in(cfg *pgxpool.Config) {
	for name, value := range map[string]string{
		"session_preload_libraries":          "auto_explain",
		"auto_explain.log_min_duration":      "0",
		"auto_explain.log_analyze":           "on",
		"auto_explain.log_buffers":           "on",
		"auto_explain.log_timing":            "off",
		"auto_explain.log_format":            "json",
		"auto_explain.log_nested_statements": "on",
		"auto_explain.log_level":             "notice",
		"max_parallel_workers_per_gather":    "0",
		"statement_timeout":                  "0",
	} {
		cfg.ConnConfig.RuntimeParams[name] = value
	}
	cfg.MaxConns = 1
	cfg.ConnConfig.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		duration, plan, is := strings.Cut(strings.TrimPrefix(notice.Message, "duration: "), " ms  plan:\n")
		if !is {
			return
		}
		took, err := strconv.ParseFloat(duration, 64)
		var e struct {
			Query string `json:"Query Text"`
			Plan  *node
		}
		if err != nil || json.Unmarshal([]byte(plan), &e) != nil {
			panic("a plan that cannot be read: " + plan)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.paused && e.Plan != nil {
			l.heard = append(l.heard, explained{strings.Join(strings.Fields(e.Query), " "), time.Duration(took * float64(time.Millisecond)), e.Plan})
		}
	}
}

func (l *listener) pause(paused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = paused
}

// take returns what was heard since.
func (l *listener) take() []explained {
	l.mu.Lock()
	defer l.mu.Unlock()
	heard := l.heard
	l.heard = nil
	return heard
}

// node is a step of a plan.
type node struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Index    string  `json:"Index Name"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Removed  float64 `json:"Rows Removed by Filter"`
	Hit      int     `json:"Shared Hit Blocks"`
	Read     int     `json:"Shared Read Blocks"`
	Temp     int     `json:"Temp Read Blocks"`
	Plans    []*node
}

// pages is how many were read for it and what is below it.
func (n *node) pages() int { return n.Hit + n.Read + n.Temp }

// looked is how many rows it looked at.
func (n *node) looked() int { return int((n.Rows + n.Removed) * n.Loops) }

func (n *node) walk(visit func(*node)) {
	visit(n)
	for _, below := range n.Plans {
		below.walk(visit)
	}
}

// String names the tables and indexes that were read.
func (n *node) String() string {
	var read []string
	n.walk(func(n *node) {
		switch {
		case n.Loops == 0:
		case n.Type == "Index Only Scan":
			read = append(read, n.Index+" alone")
		case n.Index != "":
			read = append(read, n.Index)
		case n.Relation != "" && n.Type == "Seq Scan":
			read = append(read, "all of "+n.Relation)
		}
	})
	slices.Sort(read)
	return strings.Join(slices.Compact(read), ", ")
}

// statements counts, by function, the places of a folder's code that give SQL to a
// database. Tests are left out.
func statements(folder string) (map[string]int, error) {
	files, err := fs.Glob(os.DirFS(folder), "*.go")
	if err != nil {
		return nil, err
	}
	found := make(map[string]int)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return nil, err
		}
		for _, declared := range file.Decls {
			function, is := declared.(*ast.FuncDecl)
			if !is {
				continue
			}
			ast.Inspect(function, func(n ast.Node) bool {
				if call, is := n.(*ast.CallExpr); is && asks(call.Fun) {
					found[nameOf(function)]++
				}
				return true
			})
		}
	}
	return found, nil
}

func nameOf(function *ast.FuncDecl) string {
	if function.Recv == nil {
		return function.Name.Name
	}
	receiver := function.Recv.List[0].Type
	if pointer, is := receiver.(*ast.StarExpr); is {
		receiver = pointer.X
	}
	if of, is := receiver.(*ast.Ident); is {
		return of.Name + "." + function.Name.Name
	}
	return function.Name.Name
}

// asks reports whether a call gives SQL to a database: a method of a pool, a transaction or
// a batch, or one of the functions over them, of package postgres or of the service.
func asks(called ast.Expr) bool {
	if generic, is := called.(*ast.IndexExpr); is {
		called = generic.X
	}
	switch f := called.(type) {
	case *ast.Ident:
		return f.Name == "one" || f.Name == "many"
	case *ast.SelectorExpr:
		var on string
		switch x := f.X.(type) {
		case *ast.Ident:
			on = x.Name
		case *ast.SelectorExpr:
			on = x.Sel.Name
		}
		if on == "postgres" {
			return slices.Contains([]string{"One", "Many", "Exec"}, f.Sel.Name)
		}
		return slices.Contains([]string{"pool", "tx", "db", "batch", "conn"}, on) && slices.Contains([]string{"Query", "QueryRow", "Exec", "Queue"}, f.Sel.Name)
	}
	return false
}
