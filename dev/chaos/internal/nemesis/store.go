package nemesis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
)

// damageStore kills the broker and does something to what it has on disk.
func (n *Nemesis) damageStore(ctx context.Context, how string, dead time.Duration) error {
	return n.withProcess("broker", func(p *fleet.Process) error {
		p.End(syscall.SIGKILL)
		store := n.fleet.Path("nats")
		var err error
		switch how {
		case "delete":
			err = os.RemoveAll(store)
		case "roll back":
			err = n.rollBack(store)
		case "truncate":
			err = truncateNewest(store)
		}
		if err != nil {
			return fmt.Errorf("damaging the store: %w", err)
		}
		fleet.Sleep(ctx, dead)
		begun := time.Now()
		if err := p.Start(); err != nil {
			return err
		}
		if err := p.AwaitReady(ctx); err != nil {
			return err
		}
		n.recovered("store "+how, begun)
		return nil
	})
}

// rollBack puts an old copy of the store in its place; the first time, there is
// none, and one is made.
func (n *Nemesis) rollBack(store string) error {
	old := n.storeOld
	if old == "" {
		n.storeOld = store + ".old"
		return copyTree(store, n.storeOld)
	}
	if err := os.RemoveAll(store); err != nil {
		return err
	}
	return copyTree(old, store)
}

func copyTree(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return os.CopyFS(to, os.DirFS(from))
}

// truncateNewest cuts the last third off the newest block of messages, as a disk
// does that had not written it yet.
func truncateNewest(store string) error {
	var newest string
	var at time.Time
	err := filepath.WalkDir(store, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".blk") {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.ModTime().After(at) {
			newest, at = path, info.ModTime()
		}
		return err
	})
	if err != nil || newest == "" {
		return err
	}
	info, err := os.Stat(newest)
	if err != nil {
		return err
	}
	return os.Truncate(newest, info.Size()*2/3)
}
