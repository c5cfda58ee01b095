package chassis

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Load reads a configuration from environment variables that begin with prefix
// ("MESSAGING_"). The fields' `env` tags name the rest.
//
// A variable that ends in _FILE gives the value of the variable without it from
// a file, so that secrets can be mounted; a final newline is dropped. Giving
// both is a fault, and so is a file that cannot be read. A setting that is a
// path by itself therefore never ends in _FILE but in _PATH or _DIR.
//
// A setting that is set to nothing has its default, as one that is not set: that is what a
// deployment's template leaves behind. Settings for which empty has a meaning have no
// default, except ADMIN_ADDR (Process).
//
// Every fault is reported at once: those of parsing, and those of the
// configuration's own Validate() error if it has one.
func Load[C any](prefix string, environ []string) (C, error) {
	var cfg C
	vars, fault := expandFiles(prefix, environ)
	faults := []error{fault}
	opts := env.Options{Prefix: prefix, Environment: vars}
	if err := env.ParseWithOptions(&cfg, opts); err != nil {
		faults = append(faults, flatten(err)...)
	}
	if p, ok := any(&cfg).(interface {
		keepEmpty(prefix string, vars map[string]string)
	}); ok {
		p.keepEmpty(prefix, vars)
	}
	if v, ok := any(cfg).(interface{ Validate() error }); ok {
		faults = append(faults, flatten(v.Validate())...)
	}
	if err := errors.Join(faults...); err != nil {
		return cfg, fmt.Errorf("reading configuration %s*:\n%w", prefix, err)
	}
	return cfg, nil
}

// expandFiles turns the environment into a map in which the content of the file that a
// PREFIX…_FILE variable names is the value of the variable without _FILE.
func expandFiles(prefix string, environ []string) (map[string]string, error) {
	vars := make(map[string]string, len(environ))
	for _, kv := range environ {
		if key, value, ok := strings.Cut(kv, "="); ok {
			vars[key] = value
		}
	}
	var faults []error
	for key, path := range vars {
		base, isFile := strings.CutSuffix(key, "_FILE")
		if !isFile || !strings.HasPrefix(key, prefix) || path == "" {
			continue
		}
		if vars[base] != "" {
			faults = append(faults, fmt.Errorf("%s and %s are both set: keep one", base, key))
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			faults = append(faults, fmt.Errorf("reading %s: %w", key, err))
			continue
		}
		vars[base] = strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	}
	return vars, errors.Join(faults...)
}

// flatten returns the parts of a joined error, so that each fault has its line.
func flatten(err error) []error {
	var aggregate env.AggregateError
	if errors.As(err, &aggregate) {
		return aggregate.Errors
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
