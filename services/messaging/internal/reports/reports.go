// Package reports bounds the reads that are expensive, and gives them connections of their
// own: statistics, lists and exports make no member wait.
package reports

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/report"
)

// Reports is where expensive reads wait for their turn. Members write, and agents read and
// answer, through other connections, whatever is read here.
//
// What costs as much as there are conversations comes here, and what an index gives
// page by page does not. Figures and lists have places of their
// own, so that an agent whose supervisor draws charts still sees what waits.
type Reports struct {
	// DB is a pool that cannot write.
	DB *pgxpool.Pool
	// Figures are statistics and operators' status.
	Figures *report.Limiter
	// Lists are agents' lists that no index gives in their order, counts of queues, usual
	// answer times, operators' refused events and the pages of exports: short, but not
	// short enough to be read by anybody at any time.
	Lists *report.Limiter
	// Exports are those that are open. What they read is bounded by Lists: an export
	// that waits for its reader takes nothing from others, but its memory.
	Exports *report.Limiter
	// MaxAge is how old statistics may be. What changes faster is kept for less.
	MaxAge time.Duration
}

// exportsMost is how many exports are open at once, one for each member.
const exportsMost = 32

// Connections is how many connections the reports' pool has: a place for each.
func Connections(cfg report.Config) int { return 2 * cfg.WithDefaults().Max }

// New returns the bounds of what is read through a pool.
func New(pool *pgxpool.Pool, cfg report.Config) (*Reports, error) {
	figures, err1 := report.New("figures", cfg)
	lists, err2 := report.New("lists", cfg)
	exports, err3 := report.New("exports", report.Config{Max: exportsMost})
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return &Reports{DB: pool, Figures: figures, Lists: lists, Exports: exports, MaxAge: cfg.MaxAge}, nil
}

// Close ends what is being read.
func (r *Reports) Close() {
	r.Figures.Close()
	r.Lists.Close()
	r.Exports.Close()
}

// Ask is a question of this caller's whose answer depends on the key alone.
func Ask(ctx context.Context, key string, maxAge time.Duration) report.Question {
	return report.Question{Caller: auth.FromContext(ctx).Subject, Key: key, MaxAge: maxAge}
}

// Alone is a question whose answer is for this caller alone.
func Alone(ctx context.Context) report.Question {
	return report.Question{Caller: auth.FromContext(ctx).Subject}
}
