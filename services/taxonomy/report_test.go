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
	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
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
	f, err := taxonomyfile.Parse("sound", []byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	s.store.current.Store(newCatalogue(f, testTime))
	var err1 error
	s.figures, err1 = report.New("figures", report.Config{Max: 1})
	end, err2 := s.instrument()
	if err := errors.Join(err1, err2); err != nil {
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

// While others read statistics as much as they may, members go on, and the next one is refused.
func TestReports(t *testing.T) {
	t.Parallel()
	s := bounded(t)
	ctx := auth.NewContext(t.Context(), &auth.Identity{Subject: "paul"})
	leave, err := s.figures.Enter(ctx, "another")
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	refusal := make(chan error, 1)
	go func() {
		_, err := s.GetSuggestionStatistics(waiting, &taxonomypb.GetSuggestionStatisticsRequest{})
		refusal <- err
	}()
	if _, err := s.RecordSuggestionOutcome(keyed(ctx, uuid.New()), outcomeOf(nil)); err != nil {
		t.Errorf("counting: %v", err)
	}
	if found, err := s.SearchReasons(ctx, &taxonomypb.SearchReasonsRequest{Audience: particulier, Q: "Aides"}); err != nil || len(found.GetReasons()) == 0 {
		t.Errorf("searching: %v, %v", found, err)
	}
	busy(t, <-refusal)
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
}
