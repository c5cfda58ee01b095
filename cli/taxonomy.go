package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
)

// maxTaxonomy is the most bytes of a file that is read: some hundred times the built-in one.
const maxTaxonomy = 16 << 20

// offline is a command that talks to nobody and needs no token.
type offline interface{ runsOffline() }

// lintTaxonomy is `messagerie taxonomy lint`.
type lintTaxonomy struct {
	File string `arg:"" help:"The taxonomy file; - reads standard input."`
}

func (c *lintTaxonomy) runsOffline() {}

// Run shows every fault of the file, one a line, and how many there are. It fails if there is one.
func (c *lintTaxonomy) Run(s *session) error {
	name, content, err := c.read(s.in)
	if err != nil {
		return err
	}
	f, err := taxonomyfile.Parse(name, content)
	var faults taxonomyfile.Faults
	switch {
	case err == nil && s.json:
		return nil
	case err == nil:
		topics, reasons := 0, 0
		for _, theme := range f.Themes {
			topics += len(theme.Topics)
			for _, topic := range theme.Topics {
				reasons += len(topic.Reasons)
			}
		}
		_, err := fmt.Fprintf(s.out, "%s: no fault in version %d: %d themes, %d topics, %d reasons, %d services\n", name, f.Version.Value, len(f.Themes), topics, reasons, len(f.Services))
		return err
	case !errors.As(err, &faults):
		return err
	}
	for _, fault := range faults {
		line := []byte(fault.Error())
		if s.json {
			if line, err = json.Marshal(fault); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(s.out, "%s\n", line); err != nil {
			return err
		}
	}
	if !s.json {
		if _, err := fmt.Fprintf(s.out, "%s: faults: %d\n", name, len(faults)); err != nil {
			return err
		}
	}
	return errBad
}

func (c *lintTaxonomy) read(standard io.Reader) (name string, content []byte, err error) {
	name, from := "stdin", standard
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return "", nil, err
		}
		defer file.Close()
		name, from = c.File, file
	}
	content, err = io.ReadAll(io.LimitReader(from, maxTaxonomy+1))
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("reading %s: %w", name, err)
	case len(content) > maxTaxonomy:
		return "", nil, fmt.Errorf("%s has more than %d MiB: it is no taxonomy", name, maxTaxonomy>>20)
	}
	return name, content, nil
}
