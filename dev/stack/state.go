package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/services/messaging"
	"github.com/ma-messagerie/messagerie/web"
)

// openState takes the state folder for this process alone.
func (s *Stack) openState(ctx context.Context) error {
	dir, err := filepath.Abs(s.cfg.StateDir)
	if err != nil {
		return fmt.Errorf("finding the state folder: %w", err)
	}
	s.cfg.StateDir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // user postgres must get through it
		return fmt.Errorf("making the state folder: %w", err)
	}
	s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("locking the state folder: %w", err)
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another process uses %s: stop it, or set DEV_STATE_DIR to another folder: %w", dir, err)
	}
	if s.cfg.Reset {
		if err := s.eraseState(ctx); err != nil {
			return err
		}
	}
	if err := s.openKeyset(); err != nil {
		return err
	}
	return s.openWebKey()
}

// openWebKey reads the key that seals the pages' cookies, or makes one: people stay
// signed in over a restart.
func (s *Stack) openWebKey() error {
	content, err := os.ReadFile(s.path("web.key"))
	if errors.Is(err, fs.ErrNotExist) {
		s.webKey = web.NewSessionKey()
		return writeDurably(s.path("web.key"), []byte(s.webKey))
	}
	if err != nil {
		return fmt.Errorf("reading the pages' key: %w", err)
	}
	s.webKey = string(content)
	return nil
}

func (s *Stack) eraseState(ctx context.Context) error {
	if err := localpg.Erase(ctx, s.path("postgres")); err != nil {
		return err
	}
	for _, part := range []string{"nats", "oidc", "inbox", "keyset.json", "web.key"} {
		if err := os.RemoveAll(s.path(part)); err != nil {
			return fmt.Errorf("starting clean: %w", err)
		}
	}
	return nil
}

func (s *Stack) path(part string) string { return filepath.Join(s.cfg.StateDir, part) }

// openKeyset reads the key set that wraps the conversations' keys, or makes one.
func (s *Stack) openKeyset() error {
	content, err := os.ReadFile(s.path("keyset.json"))
	if errors.Is(err, fs.ErrNotExist) {
		if s.keyset, err = messaging.NewKeyset(); err != nil {
			return err
		}
		return writeDurably(s.path("keyset.json"), []byte(s.keyset))
	}
	if err != nil {
		return fmt.Errorf("reading the key set: %w", err)
	}
	s.keyset = string(content)
	return nil
}

// writeDurably writes a file that is there whole or not at all: without its key
// set, every text is lost.
func writeDurably(path string, content []byte) error {
	fresh, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = fresh.Write(content)
	if err := errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
