package messaging

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

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
	s.taxonomy.Current.Store(3)
	messagingtest.Eventually(t, "the old version is refused", func() bool {
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
			// What is added may be as short as people answer.
			if row.reason == "" || what == "a follow-up" && row.reason == "BODY_TOO_SHORT" {
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
	if n := len(jeanne.see(t, id).GetMessages()); n != 6 { // two of before, and those of 10, 49, 50 and 300
		t.Errorf("%d messages", n)
	}
	// Both faults of a request are returned at once.
	req := question()
	req.TaxonomyVersion, req.Text, req.Reason = 3, chars(12), "nowhere"
	_, err = s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), req)
	if faults := strings.Join(faultsOf(err), ", "); faults != "reason REASON_UNKNOWN, text BODY_TOO_SHORT" {
		t.Errorf("faults: %s", faults)
	}
}
