package messaging

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/report"
)

// reports is what reads much. It has connections of its own: members write, and agents
// read and answer what was written, through the others, whatever is asked here.
//
// What costs as much as there are conversations comes here, and what an index gives
// page by page does not (see queueFilter.light). Figures and lists have places of their
// own, so that an agent whose supervisor draws charts still sees what waits.
type reports struct {
	// store reads through the reports' pool, which cannot write.
	store *store
	// figures are statistics and operators' status.
	figures *report.Limiter
	// lists are agents' lists that no index gives in their order, counts of queues,
	// usual answer times and the pages of exports: short, but not short enough to be
	// read by anybody at any time.
	lists *report.Limiter
	// exports are those that are open. What they read is bounded by lists: an export
	// that waits for its reader takes nothing from others, but its memory.
	exports *report.Limiter
	// maxAge is how old statistics may be. What changes faster is kept for less.
	maxAge time.Duration
}

// exportsMost is how many exports are open at once, one for each member.
const exportsMost = 32

// reportConnections is how many connections the reports' pool has: a place for each.
func reportConnections(cfg report.Config) int { return 2 * cfg.WithDefaults().Max }

func newReports(pool *pgxpool.Pool, cfg report.Config) (*reports, error) {
	figures, err1 := report.New("figures", cfg)
	lists, err2 := report.New("lists", cfg)
	exports, err3 := report.New("exports", report.Config{Max: exportsMost})
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return &reports{store: &store{pool}, figures: figures, lists: lists, exports: exports, maxAge: cfg.MaxAge}, nil
}

// close ends what is being read.
func (r *reports) close() {
	r.figures.Close()
	r.lists.Close()
	r.exports.Close()
}

// ask is a question of this caller's whose answer depends on the key alone.
func ask(ctx context.Context, key string, maxAge time.Duration) report.Question {
	return report.Question{Caller: auth.FromContext(ctx).Subject, Key: key, MaxAge: maxAge}
}

// alone is a question whose answer is for this caller alone.
func alone(ctx context.Context) report.Question {
	return report.Question{Caller: auth.FromContext(ctx).Subject}
}

// apart is this server, reading through the reports' pool.
func (s *server) apart() *server {
	reading := *s
	reading.store = s.reports.store
	return &reading
}
