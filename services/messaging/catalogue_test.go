package messaging

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
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

// A version of the taxonomy may narrow what a member's text may have. What was taken
// before it is as it was: a repeat gets the first answer.
func TestTextLimits_OfTheTaxonomy(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.TaxonomyRefresh = 20 * time.Millisecond
	s.start(t)
	jeanne := s.member(t, "jeanne")
	chars := func(n int) string { return strings.Repeat("é", n) }
	key, followUpKey := uuid.NewString(), uuid.NewString()
	first := question()
	first.Text = chars(12)
	before, err := s.messaging.SubmitMessage(jeanne.call(t, key), first)
	if err != nil {
		t.Fatal(err)
	}
	id := before.GetConversation().GetId()
	followUp := &messagingpb.PostFollowUpRequest{Id: id, Text: chars(12)}
	if _, err := s.messaging.PostFollowUp(jeanne.call(t, followUpKey), followUp); err != nil {
		t.Fatal(err)
	}
	s.taxonomy.current.Store(3)
	eventually(t, "the old version is refused", func() bool {
		_, err := s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), question())
		return status.Code(err) == codes.InvalidArgument
	})
	for _, row := range []struct {
		chars         int
		reason, limit string
	}{
		{10, "BODY_TOO_SHORT", "50"}, {49, "BODY_TOO_SHORT", "50"}, {50, "", ""}, {300, "", ""}, {301, "BODY_TOO_LONG", "300"}, {750, "BODY_TOO_LONG", "300"},
	} {
		req := question()
		req.TaxonomyVersion, req.Text = 3, chars(row.chars)
		_, submitted := s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), req)
		_, followed := s.messaging.PostFollowUp(jeanne.call(t, uuid.NewString()), &messagingpb.PostFollowUpRequest{Id: id, Text: chars(row.chars)})
		for what, err := range map[string]error{"a message": submitted, "a follow-up": followed} {
			if row.reason == "" {
				if err != nil {
					t.Errorf("%s of %d characters: %v", what, row.chars, err)
				}
				continue
			}
			if meta := refused(t, err, codes.InvalidArgument, row.reason, "text"); meta["limit"] != row.limit || meta["actual"] != strconv.Itoa(row.chars) {
				t.Errorf("%s of %d characters: %v", what, row.chars, meta)
			}
		}
	}
	again, err := s.messaging.SubmitMessage(jeanne.call(t, key), first)
	if err != nil || again.GetConversation().GetId() != id {
		t.Errorf("the first message again: %v, %v", again, err)
	}
	if _, err := s.messaging.PostFollowUp(jeanne.call(t, followUpKey), followUp); err != nil {
		t.Errorf("the first follow-up again: %v", err)
	}
	if n := len(jeanne.see(t, id).GetMessages()); n != 4 { // two of before, and those of 50 and 300
		t.Errorf("%d messages", n)
	}
	// Both faults of a request are told at once.
	req := question()
	req.TaxonomyVersion, req.Text, req.Reason = 3, chars(12), "nowhere"
	_, err = s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), req)
	if told := strings.Join(faultsOf(err), ", "); told != "reason REASON_UNKNOWN, text BODY_TOO_SHORT" {
		t.Errorf("told: %s", told)
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
		if got := textLimits(&taxonomypb.Catalogue{TextLimits: row.limits}); got.Min != row.least || got.Max != row.most {
			t.Errorf("%s: %d to %d", name, got.Min, got.Max)
		}
	}
	if got := textLimits(nil); got.Min != 10 || got.Max != 750 {
		t.Errorf("without a taxonomy: %d to %d", got.Min, got.Max)
	}
}

// A version that was kept from a taxonomy service of before is asked for again.
func TestTextLimits_OfAVersionOfBefore(t *testing.T) {
	t.Parallel()
	known, service, release := newKnown(t)
	before := catalogueOf(1)
	before.TextLimits = nil
	known.adopt(before, 1)
	release()
	for range 2 {
		if err := known.update(t.Context()); err != nil {
			t.Fatal(err)
		}
		if known.held(1).GetTextLimits() == nil {
			t.Error("the limits are not known")
		}
	}
	if n := service.asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}
