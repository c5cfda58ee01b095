package taxonomy

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// bounded is a server that answers one question of each kind at once.
func bounded(t *testing.T) *server {
	t.Helper()
	url := testenv.Postgres(t, Migrations)
	pool, err := postgres.Open(t.Context(), url, postgres.Reports(1, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s := &server{store: &store{pool: open(t, url)}, apart: &store{pool: pool}, maxAge: time.Hour}
	f, err := parse("sound", []byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	s.store.current.Store(newCatalogue(f, testTime))
	var err1, err2 error
	s.figures, err1 = report.New("figures", report.Config{Max: 1})
	s.searches, err2 = report.New("searches", report.Config{Max: 1})
	end, err3 := s.instrument()
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return s
}

func busy(t *testing.T, err error) {
	t.Helper()
	var refusal *rpc.Error
	if !errors.As(err, &refusal) || refusal.Code != codes.ResourceExhausted || refusal.RetryAfter <= 0 {
		t.Errorf("got %v", err)
	}
}

// While others read statistics and search as much as they may, members go on, and the
// next one is refused; what was answered already is answered again.
func TestReports(t *testing.T) {
	t.Parallel()
	s := bounded(t)
	ctx := auth.NewContext(t.Context(), &auth.Identity{Subject: "paul"})
	known := &taxonomypb.SearchReasonsRequest{Audience: taxonomypb.Audience_PARTICULIER, Q: "Aides"}
	first, err := s.SearchReasons(ctx, known)
	if err != nil || len(first.GetReasons()) == 0 {
		t.Fatalf("%v, %v", first, err)
	}
	for _, l := range []*report.Limiter{s.figures, s.searches} {
		leave, err := l.Enter(ctx, "another")
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
	}
	waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	refusals := make(chan error, 2)
	go func() {
		_, err := s.GetSuggestionStatistics(waiting, &taxonomypb.GetSuggestionStatisticsRequest{})
		refusals <- err
	}()
	go func() {
		_, err := s.SearchReasons(waiting, &taxonomypb.SearchReasonsRequest{Audience: taxonomypb.Audience_PARTICULIER, Q: "another"})
		refusals <- err
	}()
	if _, err := s.RecordSuggestionOutcome(keyed(ctx, uuid.New()), outcomeOf(nil)); err != nil {
		t.Errorf("counting: %v", err)
	}
	known.Q = " Aides ? " // the same words
	if again, err := s.SearchReasons(ctx, known); err != nil || again != first {
		t.Errorf("searching again: %v", err)
	}
	busy(t, <-refusals)
	busy(t, <-refusals)
}

// Statistics are read by connections of their own.
func TestReports_Connections(t *testing.T) {
	t.Parallel()
	s := bounded(t)
	s.store.pool.Close()
	ctx := auth.NewContext(t.Context(), &auth.Identity{Subject: "paul"})
	if _, err := s.GetSuggestionStatistics(ctx, &taxonomypb.GetSuggestionStatisticsRequest{}); err != nil {
		t.Error(err)
	}
	// What another version searches in is another question.
	one := &taxonomypb.SearchReasonsRequest{Audience: taxonomypb.Audience_PARTICULIER, Q: "aides"}
	first, err1 := s.SearchReasons(ctx, one)
	f, err := parse("sound", []byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	f.Version++
	s.store.current.Store(newCatalogue(f, testTime))
	if second, err2 := s.SearchReasons(ctx, one); err1 != nil || err2 != nil || first == second {
		t.Errorf("another version gets the same answer: %v, %v", err1, err2)
	}
}
