package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/nemesis"
)

// random runs everything at once, first with reports, then for a quarter of the
// time without reports and without anybody to ask, where duplicates are possible
// and counted.
func (r *run) random(ctx context.Context) error {
	opts := inReports
	opts.Standby, opts.Clock = fleet.Synchronous, true
	first := r.act(ctx, "with reports", opts, r.length(), nemesis.Kinds)
	opts.Reports = false
	second := r.act(ctx, "without reports", opts, max(r.length()/4, 20*time.Second), nemesis.Kinds)
	return errors.Join(first, second)
}

// act is one fleet under load and faults, to the verdict.
func (r *run) act(ctx context.Context, title string, opts fleet.Options, long time.Duration, among []string) error {
	s, err := r.stage(ctx, title, opts)
	if err != nil {
		return err
	}
	defer s.close()
	var linkNames []string
	for _, l := range s.fleet.Links() {
		linkNames = append(linkNames, l.Name)
	}
	faults := nemesis.Draw(r.cfg.Seed, long, linkNames, among, opts.Reports)
	if err := writeSchedule(filepath.Join(r.cfg.Dir, title+".faults"), faults); err != nil {
		return err
	}
	s.underLoad(ctx, r.cfg.Rate, long, func(ctx context.Context) { s.nemesis.Run(ctx, faults) })
	return s.judge(ctx, !opts.Reports && !opts.Lookups)
}

func writeSchedule(path string, faults []nemesis.Fault) error {
	var text string
	for _, f := range faults {
		text += f.String() + "\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the schedule: %w", err)
	}
	return nil
}
