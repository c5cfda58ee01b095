package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ma-messagerie/messagerie/bench/internal/build"
)

// profileSource is added to a service's main package when profiles are asked for:
// what is profiled is then what is measured otherwise. SIGUSR1 ends the profile,
// which has its name when it is whole.
const profileSource = `package main

import (
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

func init() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGUSR1)
	path := os.Getenv("BENCH_CPU_FILE")
	file, err := os.Create(path + ".part")
	if err == nil {
		err = pprof.StartCPUProfile(file)
	}
	if err != nil {
		panic(err)
	}
	go func() {
		<-end
		pprof.StopCPUProfile()
		file.Close()
		os.Rename(path+".part", path)
	}()
}
`

// profileSource is what programs are built with.
func (c config) profileSource() string {
	if c.Profile == "" {
		return ""
	}
	return profileSource
}

// profilePatience bounds the wait for a profile to be written.
const profilePatience = 10 * time.Second

// profilePath is the file of one profile, in a folder that it makes. Later rounds
// overwrite it.
func (r *rig) profilePath(p *build.Version, name string) (string, error) {
	if err := os.MkdirAll(r.cfg.Profile, 0o755); err != nil { //nolint:gosec // as asked for
		return "", err
	}
	if p.Commit != "" {
		name = p.Commit + "-" + name
	}
	return filepath.Abs(filepath.Join(r.cfg.Profile, name+".cpu"))
}

// endProfile has a child write its profile, if it has one.
func (c *child) endProfile(ctx context.Context) error {
	if c.profile == "" {
		return nil
	}
	if err := c.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, profilePatience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := os.Stat(c.profile); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the profile of %s: %w", c.name, ctx.Err())
		case <-ticker.C:
		}
	}
}
