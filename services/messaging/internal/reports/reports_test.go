package reports

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// Figures that hang leave the lists their connections: an agent whose supervisor draws charts
// still sees what waits.
func TestConnections_OnePerPlace(t *testing.T) {
	t.Parallel()
	cfg := report.Config{Max: 2, Timeout: 30 * time.Second}
	pool, err := postgres.Open(t.Context(), testenv.Postgres(t, migrations.Files), postgres.Reports(Connections(cfg), cfg.Timeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	r, err := New(pool, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	// Each read holds its connection until all have one.
	var held, ended sync.WaitGroup
	held.Add(2 * cfg.Max)
	for i := range cfg.Max {
		for name, limiter := range map[string]*report.Limiter{"figures": r.Figures, "lists": r.Lists} {
			ended.Go(func() {
				caller := auth.NewContext(t.Context(), &auth.Identity{Subject: fmt.Sprintf("%s %d", name, i)})
				_, err := report.Read(caller, limiter, Alone(caller), func(ctx context.Context) (bool, error) {
					conn, err := r.DB.Acquire(ctx)
					held.Done()
					if err != nil {
						return false, err
					}
					defer conn.Release()
					held.Wait()
					return true, nil
				})
				if err != nil {
					t.Errorf("%s %d: %v", name, i, err)
				}
			})
		}
	}
	ended.Wait()
}
