package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
)

func TestTaxonomyLint(t *testing.T) {
	t.Parallel()
	const of = "../services/taxonomy/"
	faults, err := os.ReadFile(of + "taxonomyfile/testdata/seeded.txt")
	if err != nil {
		t.Fatal(err)
	}
	seeded := strings.ReplaceAll(string(faults), "seeded.yaml:", of+"taxonomyfile/testdata/seeded.yaml:")
	long := filepath.Join(t.TempDir(), "long.yaml")
	if err := os.WriteFile(long, bytes.Repeat([]byte("#\n"), maxTaxonomy/2+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name       string
		args       []string
		exit       int
		out, errs  string
		wantPrefix bool
	}{
		{"the built-in one", []string{of + "catalogue.yaml"}, 0, of + "catalogue.yaml: no fault in version 3: 8 themes, 51 topics, 199 reasons, 34 services\n", "", false},
		{"faults", []string{of + "taxonomyfile/testdata/seeded.yaml"}, exitFailed, seeded + of + "taxonomyfile/testdata/seeded.yaml: faults: 26\n", "", false},
		{"no file", []string{"nowhere.yaml"}, exitFailed, "", "messagerie: open nowhere.yaml: no such file or directory\n", false},
		{"far too long", []string{long}, exitFailed, "", "messagerie: " + long + " has more than 16 MiB: it is no taxonomy\n", false},
		{"which file", nil, exitUsage, "", "", true},
		// A gateway without TLS elsewhere is refused, if it is called.
		{"without a connection", []string{"--gateway=gateway.example.org:443", of + "taxonomyfile/testdata/sound.yaml"}, 0, of + "taxonomyfile/testdata/sound.yaml: no fault in version 3: 2 themes, 4 topics, 6 reasons, 2 services\n", "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			exit := run(t.Context(), append([]string{"taxonomy", "lint"}, row.args...), &out, &errs)
			if exit != row.exit || !row.wantPrefix && (out.String() != row.out || errs.String() != row.errs) {
				t.Errorf("status %d\n%s%s", exit, out.String(), errs.String())
			}
		})
	}
}

func TestTaxonomyLint_Standard(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &session{ctx: t.Context(), out: &out, json: true, in: strings.NewReader("version: 3.5\n")}
	if err := (&lintTaxonomy{File: "-"}).Run(s); err != errBad { //nolint:errorlint // it is never wrapped
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var first taxonomyfile.Fault
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	if first.File != "stdin" || first.Line != 1 || len(lines) != 4 || !strings.Contains(out.String(), `"line":1,"column":10,"code":"NUMBER_NOT_WHOLE"`) {
		t.Error(out.String())
	}
}
