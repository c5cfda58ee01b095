package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/ma-messagerie/messagerie/bench/internal/build"
	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// testRig is one of short runs. It ends with the test.
func testRig(t *testing.T) *rig {
	t.Helper()
	r, err := openRig(t.Context(), config{Root: "..", Short: true})
	if errors.Is(err, localpg.ErrNoBinaries) {
		testenv.Unavailable(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestServicesServe: the programs of this tree start as children, accept
// submissions over both protocols, have their time read, and end well.
func TestServicesServe(t *testing.T) {
	t.Parallel()
	r := testRig(t)
	s, err := r.startSystem(t.Context(), r.versions[0], "test")
	if err != nil {
		t.Fatal(err)
	}
	for protocol, open := range map[string]func() (submitter, func(), error){"gRPC": s.grpcSubmitter, "REST": s.restSubmitter} {
		submit, done, err := open()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.awaitAnswer(t.Context(), submit); err != nil {
			t.Errorf("over %s: %v", protocol, err)
		}
		done()
	}
	spent, err := s.meters(r).Read()
	if err != nil {
		t.Error(err)
	}
	for _, p := range spent {
		if p.Time <= 0 {
			t.Errorf("%s has used no processor time", p.Who)
		}
	}
	if err := s.stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestServiceThatEndsIsNotWaitedFor: a configuration with a fault shows at once.
func TestServiceThatEndsIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	c, err := startChild("false", "/bin/false", build.Environ())
	if err != nil {
		t.Fatal(err)
	}
	<-c.ended
	s := &system{children: []*child{c}, people: &people{tokens: []string{"none"}}}
	err = s.awaitTaxonomy(t.Context())
	if err == nil || !strings.Contains(err.Error(), "false has ended") {
		t.Error(err)
	}
	if err := s.stop(t.Context()); err == nil {
		t.Error("status 1 is no good end")
	}
}

func TestManyMembersSubmit(t *testing.T) {
	t.Parallel()
	r := &rig{dir: t.TempDir()}
	p, err := r.everybody()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	seen := make(map[string]bool)
	for range members {
		claims, err := base64.RawURLEncoding.DecodeString(strings.Split(p.token(), ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var token struct{ Sub string }
		if err := json.Unmarshal(claims, &token); err != nil {
			t.Fatal(err)
		}
		seen[token.Sub] = true
	}
	if len(seen) != members || members < submitters {
		t.Errorf("%d members for %d submissions at once", len(seen), submitters)
	}
}
