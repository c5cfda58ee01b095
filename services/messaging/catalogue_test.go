package messaging

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// newKnown is a catalogue that asks a stage's taxonomy service, whose answers wait for
// release.
func newKnown(t *testing.T) (known *catalogue, service *taxonomy, release func()) {
	t.Helper()
	machines := testenv.NewIssuer(t, "machine")
	service = &taxonomy{issuer: machines.Issuer, held: make(chan struct{})}
	service.current.Store(1)
	service.serve(t)
	cfg := Config{}
	cfg.TokenURL, cfg.ClientID, cfg.ClientSecret = machines.Issuer.URL+"/token", "messaging", "secret"
	conn, err := rpc.Dial("passthrough:///"+service.addr, cfg.TokenSource())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &store{openPool(t, testenv.Postgres(t, Migrations))}
	return newCatalogue(taxonomypb.NewCatalogueServiceClient(conn), s, time.Hour), service, func() { close(service.held) }
}

// At the start, all submissions need the first version at once. One asks for it, and
// the others wait even when that one leaves.
func TestCatalogue_AskedForOnce(t *testing.T) {
	t.Parallel()
	known, service, release := newKnown(t)
	leaving, leave := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- known.update(leaving) }()
	eventually(t, "the taxonomy is asked", func() bool { return service.asked.Load() == 1 })
	const callers = 64
	answers := make(chan error, callers)
	for range callers {
		go func() { answers <- known.update(t.Context()) }()
	}
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	release()
	for range callers {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if n := service.asked.Load(); n > 2 { // whoever came late has asked again
		t.Errorf("asked %d times", n)
	}
	if known.currentVersion() != 1 {
		t.Errorf("version %d", known.currentVersion())
	}
	select {
	case <-known.known:
	default:
		t.Error("nobody is told that there is a version")
	}
}

// A call does not wait for long: with a version that is known it goes on, and without
// one it says so.
func TestCatalogue_CallsWaitBriefly(t *testing.T) {
	t.Parallel()
	known, _, release := newKnown(t)
	t.Cleanup(release)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := known.check(ctx, question()); !errors.Is(err, errNoCatalogue) {
		t.Errorf("without a version: %v", err)
	}
	known.adopt(catalogueOf(1), 1)
	invented := question()
	invented.TaxonomyVersion = 2
	if _, err := known.check(ctx, invented); err == nil || ctx.Err() != nil {
		t.Errorf("a version that is not there: %v", err)
	}
	if _, err := known.check(ctx, question()); err != nil {
		t.Errorf("the version known: %v", err)
	}
}

func TestCatalogue_NeverBack(t *testing.T) {
	t.Parallel()
	known := newCatalogue(nil, nil, time.Hour)
	known.adopt(catalogueOf(2), 2)
	known.adopt(catalogueOf(1), 1) // an answer that was under way for long
	if got := known.currentVersion(); got != 2 || known.held(1) == nil {
		t.Errorf("current version %d", got)
	}
}
