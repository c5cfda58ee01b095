package taxonomy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// strangers are members of whom no two set the same bit for a word.
func strangers(t *testing.T, s *store, word string, n int) (subjects []string) {
	t.Helper()
	m, err := s.month(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var taken int64
	for i := 0; len(subjects) < n; i++ {
		subject := fmt.Sprintf("stranger-%d", i)
		if bit := m.bucket(word, "member:"+subject); taken&bit == 0 {
			taken |= bit
			subjects = append(subjects, subject)
		}
	}
	return subjects
}

func TestNotable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ q, want string }{
		{"", ""},
		{"Bonjour, comment obtenir une attestation de droits s'il vous plaît ?", "attestation droits"},
		{"l’ÉTÉ où j'ai déménagé", "demenage"},
		{"caution Caution CAUTION", "caution"},
		{"A.P.L. x", "apl"},
		{"2 85 03 75 116 001 03, né en 1985, cerfa13750 r2d2", ""},
		{strings.Repeat("a", 30) + " " + strings.Repeat("b", 31), strings.Repeat("a", 30)},
		{"é 年 年金", "年金"},
		{"hydre girafe fouine ecureuil dindon cigale belette agneau zebre", "hydre girafe fouine ecureuil dindon cigale belette agneau"},
		{"jean.dupont@orange.fr", "jean dupont orange fr"},
		{"a\u0301\u200bb\x00c", "ab"},
	} {
		if got := strings.Join(notable(tt.q), " "); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.q, got, tt.want)
		}
	}
}

// Whatever is typed, what is noted are few words of letters.
func FuzzNotable(f *testing.F) {
	for _, q := range []string{"attestation de droits", "A.P.L. 2042", "l'e\u0301te\u0301", "\xff", "年金 😀", "ᾳ ß ı"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		list := notable(q)
		if len(list) > maxNoted || len(slices.Compact(slices.Sorted(slices.Values(list)))) != len(list) {
			t.Errorf("%q: %q", q, list)
		}
		for _, word := range list {
			if strings.ContainsAny(word, "0123456789\x00 .@") || len([]rune(word)) > longest {
				t.Errorf("%q: %q is noted", q, word)
			}
		}
	})
}

// A word that fewer than five members have searched for is nowhere in the database and in no
// statistics, however often they did. The fifth member's search makes it readable, and
// then it is counted.
func TestRecordSearch_FiveMembers(t *testing.T) {
	t.Parallel()
	const word = "zygomatique"
	database := testenv.Postgres(t, nil)
	s, err := run(t, database, sound)
	if err != nil {
		t.Fatal(err)
	}
	pool := open(t, database)
	members := strangers(t, &store{pool: pool}, word, 6)
	search := func(member string, times int) {
		t.Helper()
		for range times {
			if _, err := s.RecordSearch(bearing(keyed(t.Context(), uuid.New()), s.memberToken(member)), searchOf("mon Zygomatique")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, member := range members[:4] {
		search(member, 1)
		if i == 0 {
			search(member, 99)
		}
		if in := tablesWith(t, pool, word, sum(word), members[i]); in != "" {
			t.Fatalf("after %d members the word or one of them is in %s", i+1, in)
		}
	}
	if got := s.searchesOf(t, 2); !slices.Equal(got, []string{"103 103"}) {
		t.Errorf("of four members: %q", got)
	}
	search(members[4], 1)
	if in := tablesWith(t, pool, word); in != "searched_word" {
		t.Errorf("after the fifth the word is in %q", in)
	}
	if n := count(t, pool, `SELECT count(*) FROM searched_word WHERE word = $1 AND buckets = 0`, word); n != 1 {
		t.Error("the members' bits are left")
	}
	if got := s.searchesOf(t, 3); !slices.Equal(got, []string{"104 104", "zygomatique 5"}) {
		t.Errorf("of five members: %q", got)
	}
	search(members[0], 2)
	search(members[5], 1)
	if got := s.searchesOf(t, 4); !slices.Equal(got, []string{"107 107", "zygomatique 8"}) {
		t.Errorf("afterwards: %q", got)
	}
	if in := tablesWith(t, pool, members...); in != "" {
		t.Errorf("a member is in %s", in)
	}
}

// sum is what an unkeyed digest of a word would look like.
func sum(word string) string {
	digest := sha256.Sum256([]byte(word))
	return fmt.Sprintf("%x", digest)
}

// tablesWith names the tables that hold one of some texts, as text or as bytes, as PostgreSQL
// writes their rows.
func tablesWith(t *testing.T, pool *pgxpool.Pool, texts ...string) string {
	t.Helper()
	tables, err := postgres.Many[string](t.Context(), pool, "listing the tables", `
		SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY 1`)
	if err != nil || len(tables) < 6 {
		t.Fatalf("%v, %v", tables, err)
	}
	var in []string
	for _, table := range tables {
		var dump string
		if err := pool.QueryRow(t.Context(), `SELECT coalesce(string_agg(r::text, E'\n'), '') FROM `+table+` AS r`).Scan(&dump); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(texts, func(text string) bool {
			return strings.Contains(strings.ToLower(dump), text) || strings.Contains(dump, fmt.Sprintf("%x", text))
		}) {
			in = append(in, table)
		}
	}
	return strings.Join(in, " ")
}

// asked collects what is sent to the database.
type asked struct{ strings.Builder }

func (a *asked) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	fmt.Fprintf(a, "%s %s\n", data.SQL, data.Args)
	return ctx
}

func (*asked) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A word is not even sent to the database, whose log may have what is slow, before it may be
// stored there.
func TestSearch_WordIsNotSent(t *testing.T) {
	t.Parallel()
	sent := &asked{}
	cfg, err := pgxpool.ParseConfig(testenv.Postgres(t, Migrations))
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.Tracer = sent
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s := &store{pool: pool}
	for i, member := range strangers(t, s, "caution", 5) {
		found(t, s, searched{words: []string{"caution"}, subject: "member:" + member})
		if was := strings.Contains(sent.String(), "caution"); was != (i == 4) || !strings.Contains(sent.String(), "searched_word") {
			t.Errorf("after %d members the word was sent: %t", i+1, was)
		}
		if strings.Contains(sent.String(), member) {
			t.Errorf("%s was sent", member)
		}
	}
}

// The words of a search are in no log line and no span, whatever becomes of it. Not parallel: logs
// and spans are the process's.
func TestRecordSearch_Untold(t *testing.T) { //nolint:paralleltest // see above
	const word = "zygomatique"
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	spans := tracetest.NewInMemoryExporter()
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithSyncer(spans)))
	defer func() {
		slog.SetDefault(before)
		otel.SetTracerProvider(noop.NewTracerProvider())
	}()
	database := testenv.Postgres(t, nil)
	s, err := run(t, database, sound)
	if err != nil {
		t.Fatal(err)
	}
	pool := open(t, database)
	for _, member := range strangers(t, &store{pool: pool}, word, 5) { // the last one stores it
		if _, err := s.RecordSearch(bearing(keyed(t.Context(), uuid.New()), s.memberToken(member)), searchOf(word)); err != nil {
			t.Fatal(err)
		}
	}
	key := uuid.New()
	for _, q := range []string{word, word + " encore", word, strings.Repeat(word, 10), word + "\xff"} {
		_, _ = s.RecordSearch(s.asMember(keyed(t.Context(), key)), searchOf(q))
	}
	exec(t, pool, `ALTER TABLE searched_word ADD CHECK (month < '2000-01-01') NOT VALID`)
	if _, err := s.RecordSearch(s.asMember(keyed(t.Context(), uuid.New())), searchOf(word)); status.Code(err) != codes.Internal || strings.Contains(err.Error(), word) {
		t.Errorf("a fault: %v", err)
	}
	cut(t, database)
	if _, err := s.RecordSearch(s.asMember(keyed(t.Context(), uuid.New())), searchOf(word)); status.Code(err) != codes.Unavailable {
		t.Errorf("without the database: %v", err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	told := log.String() + fmt.Sprintf("%+v", spans.GetSpans())
	if !strings.Contains(log.String(), "RecordSearch") || !strings.Contains(told, "searched_word") {
		t.Error("nothing is told at all")
	}
	if i := strings.Index(told, word); i >= 0 {
		t.Errorf("told: …%s…", told[max(0, i-200):min(len(told), i+50)])
	}
}

// What a call could not do after the count, the next search with the word does.
func TestSearch_RevealedLater(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, Migrations))
	s := &store{pool: pool}
	members := strangers(t, s, "caution", 5)
	for _, member := range members {
		found(t, s, searched{words: []string{"caution"}, subject: "member:" + member})
	}
	// As after a process that was killed before it told the word.
	exec(t, pool, `UPDATE searched_word SET word = NULL, searches = 0, buckets = 31`)
	found(t, s, searched{words: []string{"caution"}, subject: "member:" + members[0]})
	if n := count(t, pool, `SELECT searches FROM searched_word WHERE word = 'caution'`); n < 5 {
		t.Errorf("%d searches", n)
	}
}

// found counts a search without a choice under a key of its own, and returns how many of its words
// were not noted.
func found(t *testing.T, s *store, o searched) (skipped int) {
	t.Helper()
	o.key, o.without = sha256.Sum256([]byte(uuid.NewString())), true
	fresh, skipped, err := s.search(t.Context(), o)
	if err != nil || !fresh {
		t.Fatalf("fresh: %t, %v", fresh, err)
	}
	return skipped
}

// The database itself keeps words of fewer than five.
func TestSearchedWord_Constraint(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, Migrations))
	_, err := pool.Exec(t.Context(), `INSERT INTO searched_word (month, digest, buckets, word, searches) VALUES (now(), sha256(''), 15, 'caution', 4)`)
	if err == nil || strings.Contains(err.Error(), "caution") {
		t.Errorf("a word of four: %v", err)
	}
	s, m := &store{pool: pool}, month{First: testTime}
	known := sha256.Sum256(nil)
	exec(t, pool, `INSERT INTO searched_word (month, digest, buckets) VALUES ($1, $2, 15)`, m.First, known[:])
	if err := s.reveal(t.Context(), m, known[:], "caution"); err != nil {
		t.Error(err)
	}
	if n := count(t, pool, `SELECT count(*) FROM searched_word WHERE word IS NOT NULL`); n != 0 {
		t.Error("a word of four was stored")
	}
}

// A bit depends on the word and on the member, a digest on the word alone, both on the secret; the
// bits are spread evenly.
func TestMonth_Digests(t *testing.T) {
	t.Parallel()
	m, other := month{Secret: bytes.Repeat([]byte{1}, 32)}, month{Secret: bytes.Repeat([]byte{2}, 32)}
	if bytes.Equal(m.word("caution"), m.word("cautions")) || bytes.Equal(m.word("caution"), other.word("caution")) {
		t.Error("two digests are equal")
	}
	for what, bucket := range map[string]func(i int) int64{
		"of members": func(i int) int64 { return m.bucket("caution", fmt.Sprint(i)) },
		"of words":   func(i int) int64 { return m.bucket(fmt.Sprint(i), "jeanne") },
		"of secrets": func(i int) int64 {
			return month{Secret: fmt.Append(nil, i)}.bucket("caution", "jeanne")
		},
	} {
		const each = 100
		times := make(map[int64]int)
		for i := range 64 * each {
			times[bucket(i)]++
		}
		for bit, n := range times {
			if n < each/2 || n > 2*each {
				t.Errorf("%s: bit %x is set %d times, about %d are right", what, bit, n, each)
			}
		}
		if len(times) != 64 {
			t.Errorf("%s: %d bits", what, len(times))
		}
	}
}

// Replicas that draw a month's secret at once have the same.
func TestMonth_AtOnce(t *testing.T) {
	t.Parallel()
	s := &store{pool: open(t, testenv.Postgres(t, Migrations))}
	secrets := make([]month, 8)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			<-start
			var err error
			if secrets[i], err = s.month(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	for _, m := range secrets {
		if len(m.Secret) != 32 || !bytes.Equal(m.Secret, secrets[0].Secret) || m.First.Day() != 1 {
			t.Errorf("got %v, %v", m, secrets[0])
		}
	}
}

// When a month has as many words as it may, further ones are not noted; those that are there go on,
// and searches are counted.
func TestSearch_Bounded(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, Migrations))
	s := &store{pool: pool}
	if skipped := found(t, s, searched{words: []string{"agneau", "belette"}, subject: "jeanne"}); skipped != 0 {
		t.Errorf("%d skipped", skipped)
	}
	exec(t, pool, `UPDATE search_month SET words = $1`, maxMonthWords-1)
	if skipped := found(t, s, searched{words: []string{"agneau", "cigale"}, subject: "jeanne"}); skipped != 0 {
		t.Errorf("the last: %d skipped", skipped)
	}
	if skipped := found(t, s, searched{words: []string{"agneau", "dindon", "fouine"}, subject: "luc"}); skipped != 2 {
		t.Errorf("too many: %d skipped", skipped)
	}
	if n := count(t, pool, `SELECT count(*) FROM searched_word`); n != 3 {
		t.Errorf("%d words", n)
	}
	if n := count(t, pool, `SELECT bit_count(buckets::bit(64)) FROM searched_word ORDER BY 1 DESC LIMIT 1`); n > 2 || n < 1 {
		t.Errorf("%d bits", n)
	}
	if n := count(t, pool, `SELECT sum(searches)::int FROM search_day`); n != 3 {
		t.Errorf("%d searches", n)
	}
}

// With the month the secret ends, and the words that nobody could read; those that can be read
// stay for their term.
func TestSearch_MonthEnds(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, Migrations))
	s := &store{pool: pool}
	found(t, s, searched{words: []string{"agneau"}, subject: "jeanne"})
	exec(t, pool, `INSERT INTO searched_word (month, digest, buckets, word, searches) VALUES (`+thisMonth+`, sha256('x'), 0, 'caution', 7)`)
	steps := func(want ...int64) {
		t.Helper()
		for i, step := range []func() (int64, error){
			func() (int64, error) { return s.forgetSecrets(t.Context(), monthGrace) },
			func() (int64, error) { return s.forgetPending(t.Context(), monthGrace) },
			func() (int64, error) { return s.forgetWords(t.Context(), leastOutcomes) },
			func() (int64, error) { return s.forgetSearches(t.Context(), leastOutcomes) },
		} {
			if n, err := step(); n != want[i] || err != nil {
				t.Errorf("step %d deletes %d, want %d; %v", i, n, want[i], err)
			}
		}
	}
	later := func(months int) {
		t.Helper()
		exec(t, pool, `UPDATE search_month SET month = `+thisMonth+` - make_interval(months => $1)`, months)
		exec(t, pool, `UPDATE searched_word SET month = `+thisMonth+` - make_interval(months => $1)`, months)
	}
	steps(0, 0, 0, 0)
	later(1)
	steps(1, 1, 0, 0)
	// As far as figures reach back: the month of the first of 366 days.
	exec(t, pool, `UPDATE searched_word SET month = date_trunc('month', (`+today+` - 365)::timestamp)`)
	exec(t, pool, `UPDATE search_day SET day = `+today+` - 365`)
	steps(0, 0, 0, 0)
	resp, err := s.searches(t.Context(), 366)
	if err != nil {
		t.Fatal(err)
	}
	if got := wordsOf(resp); !slices.Equal(got, []string{"caution 7"}) || resp.GetDays()[0].GetSearches() != 1 {
		t.Errorf("got %q and %v", got, resp.GetDays()[0])
	}
	later(14)
	exec(t, pool, `UPDATE search_day SET day = `+today+` - 368`)
	steps(0, 0, 1, 1)
}

// A taxonomy that runs forgets what has ended, and what is past its term, without being asked.
func TestRun_ForgetsSearches(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, Migrations)
	pool := open(t, database)
	exec(t, pool, `INSERT INTO search_month (month, secret) VALUES (`+thisMonth+` - interval '1 month', sha256(''))`)
	exec(t, pool, `INSERT INTO searched_word (month, digest, buckets) VALUES (`+thisMonth+` - interval '1 month', sha256(''), 1)`)
	exec(t, pool, `INSERT INTO searched_word (month, digest, buckets, word, searches) VALUES (`+thisMonth+` - interval '14 months', sha256('x'), 0, 'caution', 5)`)
	exec(t, pool, `INSERT INTO search_day (day, searches, without_choice) VALUES (`+today+` - 400, 1, 1)`)
	if _, err := run(t, database, sound); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for left := 1; left > 0; {
		if err := pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM search_month) + (SELECT count(*) FROM searched_word) + (SELECT count(*) FROM search_day)`).Scan(&left); err != nil {
			t.Fatalf("%d rows are left: %v", left, err)
		}
	}
}
