package taxonomy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// searchOf is a search without a choice.
func searchOf(q string) *taxonomypb.RecordSearchRequest {
	return &taxonomypb.RecordSearchRequest{Audience: particulier, Q: q}
}

// searchesOf are the statistics of some days as lines: those of days that had searches, without
// their date, then the words.
func (s *service) searchesOf(t *testing.T, days int32) (lines []string) {
	t.Helper()
	resp, err := s.GetSearchStatistics(bearing(t.Context(), s.supervisor), &taxonomypb.GetSearchStatisticsRequest{Days: days})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range resp.GetDays() {
		if d.GetSearches() > 0 {
			lines = append(lines, fmt.Sprintf("%d %d", d.GetSearches(), d.GetWithoutChoice()))
		}
	}
	return append(lines, wordsOf(resp)...)
}

func wordsOf(resp *taxonomypb.GetSearchStatisticsResponse) (lines []string) {
	for _, w := range resp.GetWords() {
		lines = append(lines, fmt.Sprintf("%s %d", w.GetWord(), w.GetSearches()))
	}
	return lines
}

// exec runs a statement of the test's own.
func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (rows int64) {
	t.Helper()
	tag, err := pool.Exec(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	return tag.RowsAffected()
}

// count reads a number.
func count(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRecordSearch(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	s, err := run(t, database, sound)
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []*taxonomypb.RecordSearchRequest{
		{Audience: particulier, Q: "caution", Chosen: true},
		{Audience: particulier, Q: "caution", Chosen: true},
		{Audience: employeur, Q: "  de la … 2042 "}, // no words
		{Audience: particulier, Q: "attestation de droits"},
	} {
		if _, err := s.RecordSearch(s.asMember(keyed(t.Context(), uuid.New())), req); err != nil {
			t.Errorf("%v: %v", req, err)
		}
	}
	if got := s.searchesOf(t, 2); !slices.Equal(got, []string{"4 2"}) {
		t.Errorf("got %q", got)
	}
	pool := open(t, database)
	if n := count(t, pool, `SELECT count(*) FROM searched_word`); n != 2 {
		t.Errorf("%d words are noted: those of a search with a choice are not, nor those of politeness", n)
	}
	if n := count(t, pool, `SELECT words FROM search_month`); n != 2 {
		t.Errorf("%d words of the month are counted", n)
	}
}

// What is refused is not counted.
func TestRecordSearch_Refused(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	s, err := run(t, database, sound)
	if err != nil {
		t.Fatal(err)
	}
	member := s.asMember(t.Context())
	type request = taxonomypb.RecordSearchRequest
	tests := []struct {
		name   string
		ctx    context.Context
		req    *request
		code   codes.Code
		reason string
	}{
		{"no audience", member, &request{Q: "x"}, codes.InvalidArgument, "REQUIRED"},
		{"an audience not served", member, &request{Audience: exploitant, Q: "x"}, codes.InvalidArgument, "AUDIENCE_NOT_SERVED"},
		{"no words", member, searchOf(""), codes.InvalidArgument, "REQUIRED"},
		{"101 characters", member, searchOf(strings.Repeat("x", 101)), codes.InvalidArgument, "TOO_LONG"},
		{"nobody", t.Context(), searchOf("x"), codes.Unauthenticated, "TOKEN_REQUIRED"},
		{"an agent", s.asAgent(t.Context()), searchOf("x"), codes.PermissionDenied, "ACCESS_DENIED"},
		{"a machine", s.asMachine(t.Context()), searchOf("x"), codes.PermissionDenied, "ACCESS_DENIED"},
	}
	for _, tt := range tests {
		if _, err := s.RecordSearch(keyed(tt.ctx, uuid.New()), tt.req); status.Code(err) != tt.code || told(err) != tt.reason {
			t.Errorf("%s: %q, %v", tt.name, told(err), err)
		}
	}
	if _, err := s.RecordSearch(member, searchOf("x")); told(err) != "IDEMPOTENCY_KEY_REQUIRED" {
		t.Errorf("without a key: %v", err)
	}
	if _, err := s.RecordSearch(keyed(member, uuid.New()), searchOf(strings.Repeat("😀", 100))); err != nil {
		t.Errorf("100 characters of four bytes: %v", err)
	}
	if got := s.searchesOf(t, 2); !slices.Equal(got, []string{"1 1"}) {
		t.Errorf("got %q", got)
	}
}

// A search that is repeated is counted once, at once and later, by whichever replica. A key stands
// for one search, and not for an outcome as well.
func TestRecordSearch_Repeated(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	var replicas []*service
	for range 2 {
		s, err := run(t, database, sound)
		if err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, s)
	}
	s, key := replicas[0], uuid.New()
	var fresh atomic.Int32
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 16 {
		s := replicas[i%2]
		wg.Go(func() {
			<-start
			var header metadata.MD
			if _, err := s.RecordSearch(s.asMember(keyed(t.Context(), key)), searchOf("attestation"), grpc.Header(&header)); err != nil {
				t.Error(err)
			}
			if len(header.Get(rpc.ReplayedName)) == 0 {
				fresh.Add(1)
			}
		})
	}
	close(start)
	wg.Wait()
	if fresh.Load() != 1 {
		t.Errorf("%d calls are said to be first", fresh.Load())
	}
	reused := func(what string, err error) {
		t.Helper()
		if status.Code(err) != codes.AlreadyExists || told(err) != "IDEMPOTENCY_KEY_REUSED" {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := s.RecordSearch(s.asMember(keyed(t.Context(), key)), searchOf("attestations"))
	reused("other words", err)
	_, err = s.RecordSearch(s.asMember(keyed(t.Context(), key)), &taxonomypb.RecordSearchRequest{Audience: particulier, Q: "attestation", Chosen: true})
	reused("with a choice", err)
	_, err = s.RecordSuggestionOutcome(s.asMember(keyed(t.Context(), key)), outcomeOf(nil))
	reused("an outcome", err)
	other := uuid.New()
	if _, err := s.RecordSuggestionOutcome(s.asMember(keyed(t.Context(), other)), outcomeOf(nil)); err != nil {
		t.Error(err)
	}
	_, err = s.RecordSearch(s.asMember(keyed(t.Context(), other)), searchOf("attestation"))
	reused("a search after an outcome", err)
	if _, err := s.RecordSearch(bearing(keyed(t.Context(), key), s.neighbour), searchOf("attestation")); err != nil {
		t.Errorf("another member: %v", err)
	}
	if got := s.searchesOf(t, 2); !slices.Equal(got, []string{"2 2"}) {
		t.Errorf("got %q", got)
	}
	pool := open(t, database)
	if n := count(t, pool, `SELECT count(*) FROM searched_word`); n != 1 {
		t.Errorf("%d words are noted: those of a search that was refused", n)
	}
	exec(t, pool, `UPDATE searched_word SET word = 'attestation', searches = 5`)
	if _, err := s.RecordSearch(s.asMember(keyed(t.Context(), key)), searchOf("attestation")); err != nil {
		t.Error(err)
	}
	if got := s.searchesOf(t, 3); !slices.Equal(got, []string{"2 2", "attestation 5"}) {
		t.Errorf("repeated: %q", got)
	}
}

// The key table has no digest that somebody who guesses the words could make.
func TestRecordSearch_DigestIsKeyed(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	s, err := run(t, database, sound)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.RecordSearch(s.asMember(keyed(t.Context(), uuid.New())), searchOf("attestation")); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, open(t, database), `SELECT count(DISTINCT request) FROM outcome_key`); n != 2 {
		t.Error("the same words have the same digest under another key")
	}
}

// Calls with the same words in other orders wait for each other, and end; none is lost.
func TestRecordSearch_AtOnce(t *testing.T) {
	t.Parallel()
	const callers, each = 8, 12
	database := testenv.Postgres(t, nil)
	var replicas []*service
	for range 2 {
		s, err := run(t, database, sound)
		if err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, s)
	}
	said := []string{"hydre", "girafe", "fouine", "ecureuil", "dindon", "cigale", "belette", "agneau"}
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range callers {
		s, token := replicas[i%2], replicas[i%2].memberToken(fmt.Sprint(i))
		rotated := slices.Concat(said[i:], said[:i])
		wg.Go(func() {
			<-start
			for n := range each {
				words := slices.Clone(rotated)
				if n%2 == 0 {
					slices.Reverse(words)
				}
				if _, err := s.RecordSearch(bearing(keyed(t.Context(), uuid.New()), token), searchOf(strings.Join(words, " "))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	close(start)
	wg.Wait()
	if got := replicas[0].searchesOf(t, 2); got[0] != "96 96" {
		t.Errorf("got %q", got)
	}
	pool := open(t, database)
	if n := count(t, pool, `SELECT count(*) FROM searched_word`); n != len(said) {
		t.Errorf("%d words", n)
	}
	if n := count(t, pool, `SELECT words FROM search_month`); n != len(said) {
		t.Errorf("%d words are counted", n)
	}
	if n := count(t, pool, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n != 0 {
		t.Errorf("%d deadlocks", n)
	}
}

func TestGetSearchStatistics(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	s, err := run(t, database, sound)
	if err != nil {
		t.Fatal(err)
	}
	pool := open(t, database)
	exec(t, pool, `INSERT INTO search_day (day, searches, without_choice) VALUES
		(`+today+`, 10, 4), (`+today+` - 2, 3000000000, 2), (`+today+` - 30, 7, 7)`)
	insert := func(ago int, word string, searches int64) {
		t.Helper()
		exec(t, pool, `INSERT INTO searched_word (month, digest, buckets, word, searches) VALUES (`+thisMonth+` - make_interval(months => $1), sha256($2::text::bytea), 0, $2, $3)`, ago, word, searches)
	}
	insert(0, "caution", 6)
	insert(0, "bail", 6)
	insert(0, "loyer", 9)
	insert(0, "hiver", 3_000_000_000)
	insert(13, "ancien", 100)
	exec(t, pool, `INSERT INTO searched_word (month, digest, buckets) VALUES (`+thisMonth+`, sha256('pending'), 15)`)
	// The same word twice in a month, as after a crash.
	exec(t, pool, `INSERT INTO searched_word (month, digest, buckets, word, searches) VALUES (`+thisMonth+`, sha256('again'), 0, 'loyer', 5)`)
	ask := func(days int32) *taxonomypb.GetSearchStatisticsResponse {
		t.Helper()
		resp, err := s.GetSearchStatistics(bearing(t.Context(), s.supervisor), &taxonomypb.GetSearchStatisticsRequest{Days: days})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	resp := ask(0)
	if got := wordsOf(resp); !slices.Equal(got, []string{"hiver 2147483647", "loyer 14", "bail 6", "caution 6"}) {
		t.Errorf("words %q", got)
	}
	days := resp.GetDays()
	if len(days) != 30 || days[0].GetSearches() != 0 || days[27].GetSearches() != 2147483647 || days[29].GetSearches() != 10 || days[29].GetWithoutChoice() != 4 {
		t.Errorf("days %v", days)
	}
	var today string
	if err := pool.QueryRow(t.Context(), `SELECT (now() AT TIME ZONE 'Europe/Paris')::date::text`).Scan(&today); err != nil {
		t.Fatal(err)
	}
	if days[29].GetDate() != today {
		t.Errorf("the last day is %s, today %s", days[29].GetDate(), today)
	}
	if days := ask(31).GetDays(); len(days) != 31 || days[0].GetWithoutChoice() != 7 {
		t.Errorf("31 days: %v", days[0])
	}
	if got := ask(366); len(got.GetDays()) != 366 {
		t.Errorf("%d days", len(got.GetDays()))
	}
	exec(t, pool, `INSERT INTO searched_word (month, digest, buckets, word, searches)
		SELECT `+thisMonth+`, sha256(n::text::bytea), 0, 'w' || n, 50 FROM generate_series(1, 300) n`)
	if got := ask(2); len(got.GetWords()) != maxSearchedWords || got.GetWords()[1].GetWord() != "w1" {
		t.Errorf("%d words, %v", len(got.GetWords()), got.GetWords()[1])
	}
}

func TestGetSearchStatistics_Refused(t *testing.T) {
	t.Parallel()
	s, err := run(t, testenv.Postgres(t, nil), sound)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, token string
		days        int32
		code        codes.Code
		reason      string
	}{
		{"an agent", s.agent, 1, codes.PermissionDenied, "ACCESS_DENIED"},
		{"a member", s.member, 1, codes.PermissionDenied, "ACCESS_DENIED"},
		{"an operator", s.operator, 1, codes.PermissionDenied, "ACCESS_DENIED"},
		{"a machine", s.token, 1, codes.PermissionDenied, "ACCESS_DENIED"},
		{"days before today", s.supervisor, -1, codes.InvalidArgument, "OUT_OF_RANGE"},
		{"more than a year", s.supervisor, 367, codes.InvalidArgument, "OUT_OF_RANGE"},
	} {
		_, err := s.GetSearchStatistics(bearing(t.Context(), tt.token), &taxonomypb.GetSearchStatisticsRequest{Days: tt.days})
		if status.Code(err) != tt.code || told(err) != tt.reason {
			t.Errorf("%s: %q, %v", tt.name, told(err), err)
		}
	}
}

// While the database is away callers are told, without their words.
func TestSearches_DatabaseAway(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	s, err := run(t, database, sound)
	if err != nil {
		t.Fatal(err)
	}
	cut(t, database)
	for _, req := range []*taxonomypb.RecordSearchRequest{searchOf("attestation"), {Audience: particulier, Q: "attestation", Chosen: true}} {
		_, err = s.RecordSearch(s.asMember(keyed(t.Context(), uuid.New())), req)
		if status.Code(err) != codes.Unavailable || told(err) != "STORE_UNAVAILABLE" || strings.Contains(err.Error(), "attestation") {
			t.Errorf("counting: %v", err)
		}
	}
	_, err = s.GetSearchStatistics(bearing(t.Context(), s.supervisor), &taxonomypb.GetSearchStatisticsRequest{})
	if status.Code(err) != codes.Unavailable || told(err) != "STORE_UNAVAILABLE" {
		t.Errorf("reading: %v", err)
	}
}

// A caller whose time is over is told so, and not that the database is away.
func TestSearches_CallerGone(t *testing.T) {
	t.Parallel()
	s := &store{pool: open(t, testenv.Postgres(t, Migrations))}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.searches(ctx, 1); !errors.Is(err, context.Canceled) || reasonOf(err) != "" {
		t.Errorf("reading: %v", err)
	}
	for _, words := range [][]string{nil, {"attestation"}} {
		if _, _, err := s.search(ctx, searched{words: words}); !errors.Is(err, context.Canceled) || reasonOf(err) != "" {
			t.Errorf("counting: %v", err)
		}
	}
}
