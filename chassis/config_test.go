package chassis

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type sampleConfig struct {
	Process
	URL    string        `env:"URL,required"`
	Secret string        `env:"SECRET"`
	Wait   time.Duration `env:"WAIT" envDefault:"3s"`
	Nested struct {
		Size int `env:"SIZE" envDefault:"7"`
	} `envPrefix:"NESTED_"`
}

func (c sampleConfig) Validate() error {
	if c.Wait <= 0 {
		return errors.New("WAIT must be more than 0")
	}
	return nil
}

func TestLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load[sampleConfig]("X_", []string{"X_URL=postgres://h/d?a=b", "X_SECRET_FILE=" + path, "X_NESTED_SIZE=9", "Y_WAIT=1s", "X_ADMIN_ADDR=:1"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.URL != "postgres://h/d?a=b" || cfg.Secret != "s3cret" || cfg.Wait != 3*time.Second || cfg.Nested.Size != 9 || cfg.AdminAddr != ":1" {
		t.Errorf("got %+v", cfg)
	}
}

// What is given and empty is as good as not given, but where empty says something.
func TestLoad_GivenEmpty(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		given, admin string
	}{
		"not given":        {"X_OTHER=1", ":9464"},
		"an address":       {"X_ADMIN_ADDR=:1", ":1"},
		"empty":            {"X_ADMIN_ADDR=", ""},
		"by an empty file": {"X_ADMIN_ADDR_FILE=" + empty, ""},
		"another's":        {"Y_ADMIN_ADDR=", ":9464"},
	} {
		cfg, err := Load[sampleConfig]("X_", []string{"X_URL=postgres://h/d", "X_WAIT=", "X_NESTED_SIZE=", row.given})
		if err != nil || cfg.AdminAddr != row.admin || cfg.Wait != 3*time.Second || cfg.Nested.Size != 7 {
			t.Errorf("%s: %+v, %v", name, cfg, err)
		}
	}
	// The process by itself, of which the command healthcheck asks.
	if cfg, err := Load[Process]("X_", []string{"X_ADMIN_ADDR="}); err != nil || cfg.AdminAddr != "" {
		t.Errorf("a process: %+v, %v", cfg, err)
	}
}

func TestLoad_AllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Load[sampleConfig]("X_", []string{"X_WAIT=-1s", "X_NESTED_SIZE=many", "X_SECRET=a", "X_SECRET_FILE=/nowhere", "X_OTHER_FILE=/nowhere", "X_DRAIN_DELAY=long"})
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{"X_URL", "WAIT must be", "Size", "X_SECRET and X_SECRET_FILE", "X_OTHER_FILE", "DrainDelay"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}
