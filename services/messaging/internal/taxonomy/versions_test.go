package taxonomy

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// newVersions is a catalogue that asks a stage's taxonomy service, whose answers wait for
// release.
func newVersions(t *testing.T) (known *Versions, service *messagingtest.Taxonomy, release func()) {
	t.Helper()
	machines := testenv.NewIssuer(t, "machine")
	service = &messagingtest.Taxonomy{Issuer: machines.Issuer, Held: make(chan struct{})}
	service.Current.Store(1)
	service.Serve(t)
	cfg := auth.MachineConfig{TokenURL: machines.Issuer.URL + "/token", ClientID: "messaging", ClientSecret: "secret"}
	conn, err := rpc.Dial("passthrough:///"+service.Addr, cfg.TokenSource())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return New(taxonomypb.NewCatalogueServiceClient(conn), messagingtest.Pool(t), time.Hour), service, func() { close(service.Held) }
}

// At the start, all submissions need the first version at once. One asks for it, and
// the others wait even when that one leaves.
func TestVersions_AskedForOnce(t *testing.T) {
	t.Parallel()
	known, service, release := newVersions(t)
	leaving, leave := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- known.update(leaving) }()
	messagingtest.Eventually(t, "the taxonomy is asked", func() bool { return service.Asked.Load() == 1 })
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
	if n := service.Asked.Load(); n > 2 { // whoever came late has asked again
		t.Errorf("asked %d times", n)
	}
	if known.Number() != 1 {
		t.Errorf("version %d", known.Number())
	}
	select {
	case <-known.Known():
	default:
		t.Error("Known is not closed")
	}
}

// A call does not wait for long: with a version that is known it goes on, and without
// one it says so.
func TestVersions_CallsWaitBriefly(t *testing.T) {
	t.Parallel()
	known, _, release := newVersions(t)
	t.Cleanup(release)
	ctx, cancel := context.WithTimeout(t.Context(), messagingtest.Patience)
	defer cancel()
	if _, err := known.Check(ctx, selectionOf(1)); !errors.Is(err, ErrNoVersion) {
		t.Errorf("without a version: %v", err)
	}
	known.adopt(messagingtest.TaxonomyOf(1), 1)
	invented := selectionOf(1)
	invented.TaxonomyVersion = 2
	if _, err := known.Check(ctx, invented); err == nil || ctx.Err() != nil {
		t.Errorf("a version that is not there: %v", err)
	}
	if _, err := known.Check(ctx, selectionOf(1)); err != nil {
		t.Errorf("the version known: %v", err)
	}
}

func TestVersions_NeverBack(t *testing.T) {
	t.Parallel()
	known := New(nil, nil, time.Hour)
	known.adopt(messagingtest.TaxonomyOf(2), 2)
	known.adopt(messagingtest.TaxonomyOf(1), 1) // an answer that was under way for long
	if got := known.Number(); got != 2 || known.Held(1) == nil {
		t.Errorf("current version %d", got)
	}
}

// selectionOf is one that the test's taxonomy has.
func selectionOf(version int32) *messagingpb.SubmitMessageRequest {
	return &messagingpb.SubmitMessageRequest{
		Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement", Topic: "allocations", Reason: "paiement-absent", TaxonomyVersion: version,
	}
}

// A version is kept as it was first seen, and the newest is the one with the
// highest number, in whatever order they came.
func TestVersions_Kept(t *testing.T) {
	t.Parallel()
	s := New(nil, messagingtest.Pool(t), time.Hour)
	if kept, err := s.newest(t.Context()); kept != nil || err != nil {
		t.Errorf("in an empty database: %v, %v", kept, err)
	}
	for _, version := range []int32{2, 1} {
		if err := s.save(t.Context(), messagingtest.TaxonomyOf(version)); err != nil {
			t.Fatal(err)
		}
	}
	changed := messagingtest.TaxonomyOf(2)
	changed.Queues = nil
	if err := s.save(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.newest(t.Context()); err != nil || !proto.Equal(kept, messagingtest.TaxonomyOf(2)) {
		t.Errorf("newest: %v, %v", kept, err)
	}
	if kept, err := s.Kept(t.Context(), 1); err != nil || !proto.Equal(kept, messagingtest.TaxonomyOf(1)) {
		t.Errorf("version 1: %v, %v", kept, err)
	}
	if kept, err := s.Kept(t.Context(), 3); kept != nil || err != nil {
		t.Errorf("one that is not there: %v, %v", kept, err)
	}
}

// Whatever a version says, the store takes the guide's 10 to 750.
func TestTextLimits_NarrowAlone(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		limits      *taxonomypb.TextLimits
		least, most int
	}{
		"of before": {nil, 10, 750}, "empty": {&taxonomypb.TextLimits{}, 10, 750}, "narrower": {&taxonomypb.TextLimits{Min: 50, Max: 300}, 50, 300},
		"wider": {&taxonomypb.TextLimits{Min: 1, Max: 5000}, 10, 750}, "upside down": {&taxonomypb.TextLimits{Min: 700, Max: 20}, 10, 750},
	} {
		if got := limits(&taxonomypb.Catalogue{TextLimits: row.limits}); got.Min != row.least || got.Max != row.most {
			t.Errorf("%s: %d to %d", name, got.Min, got.Max)
		}
	}
	if got := limits(nil); got.Min != 10 || got.Max != 750 {
		t.Errorf("without a taxonomy: %d to %d", got.Min, got.Max)
	}
}

// A version that was kept from a taxonomy service of before is asked for again.
func TestTextLimits_OfAVersionOfBefore(t *testing.T) {
	t.Parallel()
	known, service, release := newVersions(t)
	before := messagingtest.TaxonomyOf(1)
	before.TextLimits = nil
	known.adopt(before, 1)
	release()
	for range 2 {
		if err := known.update(t.Context()); err != nil {
			t.Fatal(err)
		}
		if known.Held(1).GetTextLimits() == nil {
			t.Error("the limits are not known")
		}
	}
	if n := service.Asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}
