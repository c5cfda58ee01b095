package taxonomy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// open returns the test's own way into a database.
func open(t *testing.T, database string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// told is the reason that a caller gets over the wire.
func told(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// outcomeOf is an outcome that is counted, with what a test changes in it.
func outcomeOf(change func(*taxonomypb.RecordSuggestionOutcomeRequest)) *taxonomypb.RecordSuggestionOutcomeRequest {
	req := &taxonomypb.RecordSuggestionOutcomeRequest{
		Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille", Topic: "aides", Reason: "absent",
		Service: "payer", Outcome: taxonomypb.SuggestionOutcome_SHOWN,
	}
	if change != nil {
		change(req)
	}
	return req
}

func TestRecordSuggestionOutcome(t *testing.T) {
	t.Parallel()
	s, err := run(t, testenv.Postgres(t, nil), sound)
	if err != nil {
		t.Fatal(err)
	}
	type request = taxonomypb.RecordSuggestionOutcomeRequest
	counted := []*request{
		outcomeOf(nil), outcomeOf(nil), outcomeOf(nil),
		outcomeOf(func(r *request) { r.Outcome = taxonomypb.SuggestionOutcome_FOLLOWED }),
		outcomeOf(func(r *request) { r.Outcome = taxonomypb.SuggestionOutcome_WROTE_ANYWAY }),
		outcomeOf(func(r *request) { r.Outcome = taxonomypb.SuggestionOutcome_CHANGED_SELECTION }),
		outcomeOf(func(r *request) { r.Topic, r.Reason = "", "" }),
		outcomeOf(func(r *request) { r.Reason, r.Outcome = "", taxonomypb.SuggestionOutcome_FOLLOWED }),
		outcomeOf(func(r *request) {
			r.Audience, r.Theme, r.Topic, r.Reason, r.Service = taxonomypb.Audience_EMPLOYEUR, "commun", "compte", "", "embaucher"
		}),
	}
	for _, req := range counted {
		if _, err := s.RecordSuggestionOutcome(s.asMember(keyed(t.Context(), uuid.New())), req); err != nil {
			t.Errorf("%v: %v", req, err)
		}
	}
	resp, err := s.GetSuggestionStatistics(s.asAgent(t.Context()), &taxonomypb.GetSuggestionStatisticsRequest{Days: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"PARTICULIER famille/aides/absent Payer 3 1 1 1",
		"PARTICULIER famille// Payer 1 0 0 0",
		"EMPLOYEUR commun/compte/ Embaucher 1 0 0 0",
		"PARTICULIER famille/aides/ Payer 0 1 0 0",
	}
	if got := lines(resp); !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if service := resp.GetFigures()[2].GetService(); service.GetCode() != "embaucher" || service.GetUrl() == "" || !service.GetExternal() {
		t.Errorf("got %v", service)
	}
}

// What was not offered is refused with its reason, and nothing is counted.
func TestRecordSuggestionOutcome_Refused(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	s, err := run(t, database, sound)
	if err != nil {
		t.Fatal(err)
	}
	type request = taxonomypb.RecordSuggestionOutcomeRequest
	member := s.asMember(t.Context())
	tests := []struct {
		name   string
		ctx    context.Context
		change func(*request)
		code   codes.Code
		reason string
	}{
		{"unknown theme", member, func(r *request) { r.Theme = "x" }, codes.InvalidArgument, "THEME_UNKNOWN"},
		{"unknown topic", member, func(r *request) { r.Topic = "x" }, codes.InvalidArgument, "TOPIC_UNKNOWN"},
		{"unknown reason", member, func(r *request) { r.Reason = "x" }, codes.InvalidArgument, "REASON_UNKNOWN"},
		{"a reason without its topic", member, func(r *request) { r.Topic = "" }, codes.InvalidArgument, "TOPIC_REQUIRED"},
		{"another audience's theme", member, func(r *request) { r.Audience = taxonomypb.Audience_EMPLOYEUR }, codes.InvalidArgument, "THEME_UNKNOWN"},
		{"an audience not served", member, func(r *request) { r.Audience = taxonomypb.Audience_EXPLOITANT }, codes.InvalidArgument, "THEME_UNKNOWN"},
		{"unknown service", member, func(r *request) { r.Service = "x" }, codes.InvalidArgument, "SERVICE_NOT_OFFERED"},
		{"a service of another audience", member, func(r *request) {
			r.Theme, r.Topic, r.Reason, r.Service = "commun", "compte", "", "embaucher"
		}, codes.InvalidArgument, "SERVICE_NOT_OFFERED"},
		{"a reason that offers none", member, func(r *request) { r.Reason = "montant" }, codes.InvalidArgument, "SERVICE_NOT_OFFERED"},
		{"no service", member, func(r *request) { r.Service = "" }, codes.InvalidArgument, "REQUIRED"},
		{"no outcome", member, func(r *request) { r.Outcome = 0 }, codes.InvalidArgument, "REQUIRED"},
		{"an outcome of the future", member, func(r *request) { r.Outcome = 5 }, codes.InvalidArgument, "VALUE_UNKNOWN"},
		{"nobody", t.Context(), nil, codes.Unauthenticated, "TOKEN_REQUIRED"},
		{"an agent", s.asAgent(t.Context()), nil, codes.PermissionDenied, "ACCESS_DENIED"},
	}
	for _, tt := range tests {
		_, err := s.RecordSuggestionOutcome(keyed(tt.ctx, uuid.New()), outcomeOf(tt.change))
		if status.Code(err) != tt.code || told(err) != tt.reason {
			t.Errorf("%s: %q, %v", tt.name, told(err), err)
		}
	}
	var rows int
	if err := open(t, database).QueryRow(t.Context(), `SELECT count(*) FROM suggestion_outcome`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// Two replicas count the same row at once and lose nothing.
func TestRecordSuggestionOutcome_AtOnce(t *testing.T) {
	t.Parallel()
	const callers, each = 8, 25
	database := testenv.Postgres(t, nil)
	var replicas []*service
	for range 2 {
		s, err := run(t, database, sound)
		if err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, s)
	}
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range callers {
		s := replicas[i%2]
		outcome := taxonomypb.SuggestionOutcome(1 + i%4)
		wg.Go(func() {
			<-start
			req := outcomeOf(func(r *taxonomypb.RecordSuggestionOutcomeRequest) { r.Outcome = outcome })
			for range each {
				if _, err := s.RecordSuggestionOutcome(s.asMember(keyed(t.Context(), uuid.New())), req); err != nil {
					t.Error(err)
				}
			}
		})
	}
	close(start)
	wg.Wait()
	// Two days, should midnight have come meanwhile.
	resp, err := replicas[0].GetSuggestionStatistics(replicas[0].asAgent(t.Context()), &taxonomypb.GetSuggestionStatisticsRequest{Days: 2})
	if err != nil {
		t.Fatal(err)
	}
	if got := lines(resp); !slices.Equal(got, []string{"PARTICULIER famille/aides/absent Payer 50 50 50 50"}) {
		t.Errorf("got %v", got)
	}
}

// A call that is repeated is counted once, one after the other and at once, by whichever
// replica. A key is of its member, stands for one outcome, and is known for a day.
func TestRecordSuggestionOutcome_Repeated(t *testing.T) {
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
	counted := func(want ...string) {
		t.Helper()
		resp, err := s.GetSuggestionStatistics(s.asAgent(t.Context()), &taxonomypb.GetSuggestionStatisticsRequest{Days: 2})
		if err != nil {
			t.Fatal(err)
		}
		if got := lines(resp); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	var fresh atomic.Int32
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 16 {
		s := replicas[i%2]
		wg.Go(func() {
			<-start
			var header metadata.MD
			if _, err := s.RecordSuggestionOutcome(s.asMember(keyed(t.Context(), key)), outcomeOf(nil), grpc.Header(&header)); err != nil {
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
	other := outcomeOf(func(r *taxonomypb.RecordSuggestionOutcomeRequest) { r.Outcome = taxonomypb.SuggestionOutcome_FOLLOWED })
	if _, err := s.RecordSuggestionOutcome(s.asMember(keyed(t.Context(), key)), other); status.Code(err) != codes.AlreadyExists || told(err) != "IDEMPOTENCY_KEY_REUSED" {
		t.Errorf("another outcome: %v", err)
	}
	if _, err := s.RecordSuggestionOutcome(s.asMember(t.Context()), other); told(err) != "IDEMPOTENCY_KEY_REQUIRED" {
		t.Errorf("without a key: %v", err)
	}
	if _, err := s.RecordSuggestionOutcome(bearing(keyed(t.Context(), key), s.neighbour), outcomeOf(nil)); err != nil {
		t.Errorf("another member: %v", err)
	}
	pool := open(t, database)
	st := &store{pool: pool}
	if n, err := st.forgetKeys(t.Context(), keyTerm); n != 0 || err != nil {
		t.Errorf("%d keys forgotten, %v", n, err)
	}
	mine := sha256.Sum256(append(key[:], "member:jeanne"...))
	if _, err := pool.Exec(t.Context(), `UPDATE outcome_key SET counted_at = now() - interval '25 hours' WHERE digest = $1`, mine[:]); err != nil {
		t.Fatal(err)
	}
	if n, err := st.forgetKeys(t.Context(), keyTerm); n != 1 || err != nil {
		t.Errorf("%d keys forgotten, %v", n, err)
	}
	if _, err := s.RecordSuggestionOutcome(s.asMember(keyed(t.Context(), key)), other); err != nil {
		t.Error(err)
	}
	counted("PARTICULIER famille/aides/absent Payer 2 1 0 0")
}

// Who waits for another call with the same key gets to know what that has counted.
func TestCount_WhileTheSameIsCounted(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, Migrations))
	s := &store{pool: pool}
	o := outcome{at: place{audience: taxonomypb.Audience_EMPLOYEUR, theme: "t"}, service: "s", what: taxonomypb.SuggestionOutcome_SHOWN, call: call{request: [32]byte{1}}}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `INSERT INTO outcome_key (digest, request) VALUES ($1, $2)`, o.key[:], o.request[:]); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		fresh, err := s.count(t.Context(), o)
		if fresh {
			err = errors.Join(err, errors.New("it was counted"))
		}
		ended <- err
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for waits := 0; waits == 0; <-tick.C {
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What a request lacks and what nobody offers are told together.
func TestRecordSuggestionOutcome_AllFaults(t *testing.T) {
	t.Parallel()
	s, err := run(t, testenv.Postgres(t, nil), sound)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.RecordSuggestionOutcome(s.asMember(t.Context()), outcomeOf(func(r *taxonomypb.RecordSuggestionOutcomeRequest) {
		r.Service, r.Outcome = "x", 0
	}))
	var fields []string
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, violation := range bad.GetFieldViolations() {
				fields = append(fields, violation.GetField())
			}
		}
	}
	slices.Sort(fields)
	if !slices.Equal(fields, []string{"idempotency-key", "outcome", "service"}) {
		t.Errorf("faults of %v: %v", fields, err)
	}
}

// The day is that of Paris, whatever the session's zone and the process's.
func TestRecordSuggestionOutcome_DayInParis(t *testing.T) {
	t.Parallel()
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	database := testenv.Postgres(t, Migrations)
	cfg, err := pgxpool.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	for _, zone := range []string{"Pacific/Kiritimati", "Pacific/Pago_Pago"} { // 25 hours apart: never both on Paris's day
		cfg := cfg.Copy()
		cfg.ConnConfig.RuntimeParams["timezone"] = zone
		pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		before := time.Now().In(paris).Format(time.DateOnly)
		s := &store{pool: pool}
		if _, err := s.count(t.Context(), outcome{
			at: place{taxonomypb.Audience_EMPLOYEUR, zone, "", ""}, service: "s", what: taxonomypb.SuggestionOutcome_SHOWN, call: call{key: sha256.Sum256([]byte(zone))},
		}); err != nil {
			t.Fatal(err)
		}
		var day string
		if err := pool.QueryRow(t.Context(), `SELECT day::text FROM suggestion_outcome WHERE theme = $1`, zone).Scan(&day); err != nil {
			t.Fatal(err)
		}
		if after := time.Now().In(paris).Format(time.DateOnly); day != before && day != after {
			t.Errorf("%s: counted on %s, in Paris it is %s", zone, day, after)
		}
	}
}

// lines writes down figures for comparison.
func lines(resp *taxonomypb.GetSuggestionStatisticsResponse) []string {
	var list []string
	for _, f := range resp.GetFigures() {
		list = append(list, sprint(f))
	}
	return list
}

func sprint(f *taxonomypb.SuggestionFigures) string {
	return fmt.Sprintf("%s %s/%s/%s %s %d %d %d %d", f.GetAudience(), f.GetTheme(), f.GetTopic(), f.GetReason(), f.GetService().GetName(),
		f.GetShown(), f.GetFollowed(), f.GetWroteAnyway(), f.GetChangedSelection())
}

func TestGetSuggestionStatistics(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	s, err := run(t, database, sound)
	if err != nil {
		t.Fatal(err)
	}
	pool := open(t, database)
	insert := func(ago int, audience taxonomypb.Audience, theme, service string, shown int) {
		t.Helper()
		_, err := pool.Exec(t.Context(), `
			INSERT INTO suggestion_outcome (day, audience, theme, service, shown, followed)
			VALUES ((now() AT TIME ZONE 'Europe/Paris')::date - $1::integer, $2, $3, $4, $5, 1)`, ago, int32(audience), theme, service, shown)
		if err != nil {
			t.Fatal(err)
		}
	}
	insert(0, taxonomypb.Audience_PARTICULIER, "famille", "payer", 1)
	insert(1, taxonomypb.Audience_PARTICULIER, "famille", "payer", 10)
	insert(29, taxonomypb.Audience_PARTICULIER, "famille", "payer", 100)
	insert(30, taxonomypb.Audience_PARTICULIER, "famille", "payer", 1000)
	insert(365, taxonomypb.Audience_PARTICULIER, "famille", "payer", 10000)
	insert(366, taxonomypb.Audience_PARTICULIER, "famille", "payer", 100000)
	// Served no more: an audience, a theme, a service.
	insert(0, taxonomypb.Audience_EXPLOITANT, "autrefois", "disparu", 5)
	insert(0, taxonomypb.Audience_EMPLOYEUR, "commun", "embaucher", math.MaxInt32)
	insert(1, taxonomypb.Audience_EMPLOYEUR, "commun", "embaucher", 1)

	const most = "EMPLOYEUR commun// Embaucher 2147483647 "
	const gone = "EXPLOITANT autrefois// disparu 5 1 0 0"
	tests := []struct {
		days int32
		want []string
	}{
		{1, []string{most + "1 0 0", gone, "PARTICULIER famille// Payer 1 1 0 0"}},
		{2, []string{most + "2 0 0", "PARTICULIER famille// Payer 11 2 0 0", gone}},
		{0, []string{most + "2 0 0", "PARTICULIER famille// Payer 111 3 0 0", gone}},
		{30, []string{most + "2 0 0", "PARTICULIER famille// Payer 111 3 0 0", gone}},
		{31, []string{most + "2 0 0", "PARTICULIER famille// Payer 1111 4 0 0", gone}},
		{366, []string{most + "2 0 0", "PARTICULIER famille// Payer 11111 5 0 0", gone}},
	}
	for _, tt := range tests {
		resp, err := s.GetSuggestionStatistics(s.asAgent(t.Context()), &taxonomypb.GetSuggestionStatisticsRequest{Days: tt.days})
		if err != nil {
			t.Fatal(err)
		}
		if got := lines(resp); !slices.Equal(got, tt.want) {
			t.Errorf("%d days: got\n%s", tt.days, strings.Join(got, "\n"))
		}
	}

	// One by one, then anew with a token of other days.
	req := &taxonomypb.GetSuggestionStatisticsRequest{Days: 2, PageSize: 1}
	var got []string
	for range tests[1].want {
		resp, err := s.GetSuggestionStatistics(s.asAgent(t.Context()), req)
		if err != nil || len(resp.GetFigures()) != 1 {
			t.Fatalf("%v, %v", resp, err)
		}
		got = append(got, lines(resp)...)
		if more := resp.GetNextPageToken() != ""; more != (len(got) < len(tests[1].want)) {
			t.Fatalf("after %d: another page: %t", len(got), more)
		} else if more {
			req.PageToken = resp.GetNextPageToken()
		}
	}
	if !slices.Equal(got, tests[1].want) {
		t.Errorf("one by one: got\n%s", strings.Join(got, "\n"))
	}
	req.Days = 30
	if _, err := s.GetSuggestionStatistics(s.asAgent(t.Context()), req); status.Code(err) != codes.InvalidArgument {
		t.Errorf("the token of other days: %v", err)
	}

	for _, days := range []int32{-1, 367} {
		_, err := s.GetSuggestionStatistics(s.asAgent(t.Context()), &taxonomypb.GetSuggestionStatisticsRequest{Days: days})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%d days: %v", days, err)
		}
	}
	if _, err := s.GetSuggestionStatistics(s.asMember(t.Context()), &taxonomypb.GetSuggestionStatisticsRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a member: %v", err)
	}
}

func TestGetSuggestionStatistics_AtMost(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, Migrations))
	_, err := pool.Exec(t.Context(), `
		INSERT INTO suggestion_outcome (day, audience, theme, service, shown)
		SELECT (now() AT TIME ZONE 'Europe/Paris')::date, 1, 'theme-' || n, 's', n FROM generate_series(1, $1::integer + 1) AS n`, maxFigures)
	if err != nil {
		t.Fatal(err)
	}
	// Should midnight come before the answer, it is still within two days.
	list, err := (&store{pool: pool}).figures(t.Context(), 2)
	if err != nil || len(list) != maxFigures || list[0].GetShown() != maxFigures+1 || list[maxFigures-1].GetShown() != 2 {
		t.Errorf("%d figures, %v", len(list), err)
	}
}

// While the database is away nothing is counted and callers are told; searching
// goes on.
func TestOutcomes_DatabaseAway(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	s, err := run(t, database, sound)
	if err != nil {
		t.Fatal(err)
	}
	allow := cut(t, database)
	_, err = s.RecordSuggestionOutcome(s.asMember(keyed(t.Context(), uuid.New())), outcomeOf(nil))
	if status.Code(err) != codes.Unavailable || told(err) != "STORE_UNAVAILABLE" {
		t.Errorf("counting: %v", err)
	}
	_, err = s.GetSuggestionStatistics(s.asAgent(t.Context()), &taxonomypb.GetSuggestionStatisticsRequest{})
	if status.Code(err) != codes.Unavailable || told(err) != "STORE_UNAVAILABLE" {
		t.Errorf("reading: %v", err)
	}
	found, err := s.SearchReasons(t.Context(), &taxonomypb.SearchReasonsRequest{Audience: taxonomypb.Audience_PARTICULIER, Q: "reçu"})
	if err != nil || len(found.GetReasons()) == 0 || found.GetReasons()[0].GetNear() {
		t.Errorf("searching: %v, %v", found, err)
	}
	allow()
	// Sessions that were cut are noticed one by one.
	for err = errNoCounts; status.Code(err) == codes.Unavailable; {
		_, err = s.RecordSuggestionOutcome(s.asMember(keyed(t.Context(), uuid.New())), outcomeOf(nil))
	}
	if err != nil {
		t.Errorf("counting afterwards: %v", err)
	}
}

// A caller whose time is over is told so, and not that the database is away.
func TestOutcomes_CallerGone(t *testing.T) {
	t.Parallel()
	s := &store{pool: open(t, testenv.Postgres(t, Migrations))}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.figures(ctx, 1); !errors.Is(err, context.Canceled) || reasonOf(err) != "" {
		t.Errorf("reading: %v", err)
	}
	_, err := s.count(ctx, outcome{at: place{audience: taxonomypb.Audience_EMPLOYEUR}, service: "s", what: taxonomypb.SuggestionOutcome_SHOWN})
	if !errors.Is(err, context.Canceled) || reasonOf(err) != "" {
		t.Errorf("counting: %v", err)
	}
}
